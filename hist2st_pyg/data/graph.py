"""Build spatial graphs, by one function for each kind.

All return ``edge_index`` [2, E] in PyG's direction, row 0 the source j and row 1 the target i, sorted by target.
Positions may be array steps or pixels; distances are in their unit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import Delaunay, QhullError, cKDTree
from torch import Tensor

from hist2st_pyg.utils.resolver import resolve

Array = TypeVar("Array", NDArray[Any], Tensor)

CHUNK_POINTS = 2**16
"""Number of points whose neighbors are searched at a time."""


def knn_edges(pos: Array, k: int = 4, max_distance: float | None = None) -> tuple[Array, Array]:
    """Connect each spot to its k nearest spots; of equally distant ones, those with the lower index.

    Args:
        pos: Spot positions [N, 2].
        k: Neighbors of each spot; all others if there are fewer.
        max_distance: Drop neighbors farther than this; the paper's "Grid" pruning is 2.0 on array positions.

    Returns:
        ``edge_index`` [2, E] (source j, target i) and the distances [E], in numpy or torch like ``pos``.

    Raises:
        ValueError: If ``pos`` is not a finite [N, 2], or ``k`` or ``max_distance`` is not positive.

    >>> edge_index, distance = knn_edges(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), k=1)
    >>> edge_index.tolist(), distance.tolist()
    ([[1, 0, 1], [0, 1, 2]], [1.0, 1.0, 2.0])
    """
    points = _points(pos)
    if k < 1:
        raise ValueError(f"knn_edges: k must be at least 1, got {k}.")
    if max_distance is not None and not max_distance > 0:
        raise ValueError(f"knn_edges: max_distance must be positive, got {max_distance}.")
    k = min(k, len(points) - 1)
    ends = np.empty((2, len(points), k), dtype=np.int64)
    ends[1] = np.arange(len(points))[:, None]
    distance = _nearest(points, k, ends[0]).ravel()
    edge_index = ends.reshape(2, -1)
    if max_distance is not None:
        keep = distance <= max_distance
        edge_index, distance = edge_index[:, keep], distance[keep]
    return _like(pos, edge_index), _like(pos, distance)


def _nearest(points: NDArray[np.float64], k: int, sources: NDArray[np.int64]) -> NDArray[np.float64]:
    """Write the k nearest other points of each to ``sources`` [N, k]; return the distances. Ties: the lower index."""
    n = len(points)
    distance = np.empty((n, k))
    tree = cKDTree(points)
    for start in range(0, n if k else 0, CHUNK_POINTS):
        todo, asked = np.arange(start, min(start + CHUNK_POINTS, n)), min(k + 4, n)
        while len(todo):
            candidates, d = _sorted(points, todo, tree.query(points[todo], k=np.arange(1, asked + 1))[1])
            # If the last candidate is farther than the k-th, no equally distant one was missed.
            done = (d[:, -1] > d[:, k - 1]) | (asked == n)
            sources[todo[done]], distance[todo[done]] = candidates[done, :k], np.sqrt(d[done, :k])
            todo, asked = todo[~done], min(asked + max(4, asked // 2), n)
    return distance


def _sorted(
    points: NDArray[np.float64], todo: NDArray[np.int64], found: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The points found around each without itself, [M, A - 1], by squared distance and then by index."""
    own = found == todo[:, None]
    own[:, -1] |= ~own.any(axis=1)  # many points share its position and it was not found: drop the last
    others = found[~own].reshape(len(found), -1)
    d = np.zeros(others.shape)
    for axis in points.T:
        step = axis[others] - axis[todo, None]
        d += step * step
    # The tree returns them by distance, so only ties and differences of rounding are left to sort.
    rise = np.diff(d, axis=1)
    tied = (rise <= 0).any(axis=1)
    order = np.lexsort((others[tied], d[tied]), axis=1)
    others[tied], d[tied] = np.take_along_axis(others[tied], order, 1), np.take_along_axis(d[tied], order, 1)
    return others, d


def radius_edges(pos: Array, radius: float) -> tuple[Array, Array]:
    """Connect all spots at most ``radius`` apart.

    Args:
        pos: Spot positions [N, 2].
        radius: Largest distance, in the unit of ``pos``.

    Returns:
        ``edge_index`` [2, E] and the distances [E].

    Raises:
        ValueError: If ``pos`` is not a finite [N, 2] or ``radius`` is not positive.

    >>> edge_index, distance = radius_edges(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), radius=1.5)
    >>> edge_index.tolist(), distance.tolist()
    ([[1, 0], [0, 1]], [1.0, 1.0])
    """
    points = _points(pos)
    if not radius > 0:
        raise ValueError(f"radius_edges: radius must be positive, got {radius}.")
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    return _both_ways(pos, points, pairs)


SQUARE = ((1, 0), (0, 1))
HEXAGONAL = ((2, 0), (1, 1), (1, -1))
"""Steps (column, row) to half of the neighbors; Visium numbers the columns of even and odd rows alternately."""


def grid_edges(grid: Array, rings: int = 1, hexagonal: bool = False) -> tuple[Array, Array]:
    """Connect spots at most ``rings`` array steps apart, walking from spot to adjacent spot.

    Args:
        grid: Array column and row [N, 2], integers; each place holds one spot.
        rings: Number of rings of neighbors.
        hexagonal: Visium's array (6 adjacent places) instead of a square one (4).

    Returns:
        ``edge_index`` [2, E] and the number of steps [E].

    Raises:
        ValueError: If ``grid`` is not integer [N, 2], two spots share a place, or ``rings`` is not positive.

    >>> edge_index, steps = grid_edges(np.array([[0, 0], [1, 0], [5, 0]]))
    >>> edge_index.tolist(), steps.tolist()
    ([[1, 0], [0, 1]], [1.0, 1.0])
    """
    places = _points(grid)
    if rings < 1:
        raise ValueError(f"grid_edges: rings must be at least 1, got {rings}.")
    index = {(int(x), int(y)): i for i, (x, y) in enumerate(places)}
    if len(index) < len(places) or (places != np.floor(places)).any():
        raise ValueError("grid_edges: array positions must be integers, each of one spot.")
    steps = HEXAGONAL if hexagonal else SQUARE
    pairs = [(i, index[x + a, y + b]) for (x, y), i in index.items() for a, b in steps if (x + a, y + b) in index]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    adjacency = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(places),) * 2).tocsr()
    adjacency = adjacency + adjacency.T
    reached, walks = sparse.eye_array(len(places), format="csr"), sparse.eye_array(len(places), format="csr")
    edges: list[NDArray[Any]] = [np.zeros((2, 0))]
    distances: list[NDArray[Any]] = [np.zeros(0)]
    for ring in range(1, rings + 1):
        walks = ((walks @ adjacency) > 0).astype(float)
        new = (walks - walks.multiply(reached)).tocoo()
        keep = new.data > 0
        if not keep.any():  # every reachable spot is
            break
        edges.append(np.stack([new.coords[1][keep], new.coords[0][keep]]))
        distances.append(np.full(int(keep.sum()), float(ring)))
        reached = ((reached + walks) > 0).astype(float)
    edge_index, distance = np.concatenate(edges, axis=1).astype(np.int64), np.concatenate(distances)
    order = np.lexsort((edge_index[0], edge_index[1]))
    return _like(grid, edge_index[:, order]), _like(grid, distance[order])


def delaunay_edges(pos: Array) -> tuple[Array, Array]:
    """Connect spots that share an edge of a triangle of the Delaunay triangulation, as in squidpy.

    Args:
        pos: Spot positions [N, 2].

    Returns:
        ``edge_index`` [2, E] and the distances [E].

    Raises:
        ValueError: If ``pos`` is not a finite [N, 2], or the spots span no triangle.
    """
    points = _points(pos)
    try:
        triangles = Delaunay(points).simplices
    except QhullError as error:
        raise ValueError(f"delaunay_edges: the {len(points)} spots span no triangle.") from error
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    pairs = np.unique(np.sort(sides, axis=1), axis=0).astype(np.int64)
    return _both_ways(pos, points, pairs)


GRAPHS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "delaunay": delaunay_edges,
    "grid": grid_edges,
    "knn": knn_edges,
    "radius": radius_edges,
}
"""The graphs that can be chosen by key, each a function of positions and its own arguments."""


def prune_distant(edge_index: Array, distance: Array) -> tuple[Array, Array]:
    """Drop a spot's neighbors farther than the mean plus one standard deviation of its neighbors' distances.

    This is the original program's "STD" pruning.

    Args:
        edge_index: [2, E] (source, target).
        distance: [E].

    Returns:
        The edges and distances that are kept.

    >>> edge_index = np.array([[1, 2, 3, 4], [0, 0, 0, 0]])
    >>> prune_distant(edge_index, np.array([1.0, 1.0, 1.0, 5.0]))[0].tolist()
    [[1, 2, 3], [0, 0, 0]]
    """
    target, d = _numpy(edge_index[1]), _numpy(distance).astype(np.float64)
    count = np.maximum(np.bincount(target), 1)
    mean = np.bincount(target, weights=d) / count
    deviation = np.sqrt(np.bincount(target, weights=(d - mean[target]) ** 2) / count)
    keep = d <= (mean + deviation)[target]
    mask: Any = torch.from_numpy(keep).to(edge_index.device) if isinstance(edge_index, Tensor) else keep
    return edge_index[:, mask], distance[mask]


def keep_all(edge_index: Array, distance: Array) -> tuple[Array, Array]:
    """Drop no neighbor."""
    return edge_index, distance


PRUNINGS: dict[str, Callable[..., tuple[Any, Any]]] = {"none": keep_all, "std": prune_distant}
"""The functions that drop neighbors by their distances, by key."""


def check_graph(graph: str, kwargs: Mapping[str, Any], prune: str = "none") -> None:
    """Refuse an unknown graph, pruning or argument, and a missing argument.

    Args:
        graph: A key of :data:`GRAPHS`.
        kwargs: Its arguments.
        prune: A key of :data:`PRUNINGS`.

    Raises:
        ValueError: If there is no such graph, pruning or argument, or an argument is missing.
    """
    resolve(PRUNINGS, prune, "prune")
    parameters = list(inspect.signature(resolve(GRAPHS, graph, "graph")).parameters.values())[1:]
    known = [parameter.name for parameter in parameters]
    for name in kwargs:
        if name not in known:
            raise ValueError(f"graph={graph!r} has no argument {name!r}; its arguments: {', '.join(known) or 'none'}.")
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if missing := [name for name in needed if name not in kwargs]:
        raise ValueError(f"graph={graph!r} needs {missing[0]}; set it in graph_kwargs.")


def _points(pos: NDArray[Any] | Tensor) -> NDArray[np.float64]:
    points = _numpy(pos).astype(np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"Positions must be finite [N, 2] of at least one spot, got shape {list(points.shape)}.")
    return points


def _numpy(values: NDArray[Any] | Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _both_ways(pos: Array, points: NDArray[np.float64], pairs: NDArray[np.int64]) -> tuple[Array, Array]:
    """The edges of pairs of spots [M, 2] in both directions, by target, and their lengths."""
    edge_index = np.concatenate([pairs, pairs[:, ::-1]]).T
    edge_index = edge_index[:, np.lexsort((edge_index[0], edge_index[1]))]
    distance = np.linalg.norm(points[edge_index[0]] - points[edge_index[1]], axis=1)
    return _like(pos, edge_index), _like(pos, distance)


def _like(pos: Array, values: NDArray[Any]) -> Array:
    """Numpy or torch as the input was; distances in torch take the default float type."""
    if isinstance(pos, Tensor):
        tensor = torch.from_numpy(values).to(pos.device)
        return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
    return values
