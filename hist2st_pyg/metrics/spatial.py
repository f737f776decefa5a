"""The spatial pattern of a prediction: Moran's I and structural similarity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.graph import radius_edges
from hist2st_pyg.data.preprocessing import spot_pitch
from hist2st_pyg.utils.rows import Floats, column_blocks
from hist2st_pyg.utils.runtime import preserve_num_threads

ADJACENT_PITCHES = 1.6
"""Distance of adjacent spots in pitches: the 8 around a spot of a square array, the 6 of a hexagonal one."""
SIGMA, RADIUS = 1.5, 5
"""Gaussian of structural similarity and half its window, in array places (Wang et al. 2004)."""
C1, C2 = 0.01**2, 0.03**2
"""What keeps the quotients of structural similarity from division by zero, for maps of range 1."""
MAPS_AT_ONCE = 12
"""Maps of a gene that structural similarity takes at a time."""


def adjacent_edges(pos: NDArray[np.float64]) -> NDArray[np.int64]:
    """Edges [2, E] between adjacent spots at ``pos`` [N, 2], which do not depend on a model's graph."""
    return radius_edges(pos, ADJACENT_PITCHES * spot_pitch(pos))[0]


@preserve_num_threads()
def morans_i(values: ArrayLike, edge_index: ArrayLike) -> Floats:
    """Moran's I of each gene (Moran 1950), through scanpy: near 1 is smooth, near 0 random.

    Weights are row-normalized: each spot is compared with the mean of its neighbors, so that all spots with a
    neighbor have the same weight.

    Args:
        values: Expression [N spots, G genes].
        edge_index: Edges [2, E], row 0 the neighbor, row 1 the spot.

    Returns:
        float64 [G]: nan for constant genes, and for all genes without edges.

    Raises:
        ValueError: If the shapes are wrong or a value is not finite.
    """
    import scanpy as sc
    from scipy.sparse import csr_matrix

    expression, edges = np.asarray(values), np.asarray(edge_index)
    if expression.ndim != 2 or not np.isfinite(expression).all():
        raise ValueError(f"values must be finite, [N spots, G genes], got shape {list(expression.shape)}.")
    n = len(expression)
    if edges.ndim != 2 or len(edges) != 2 or (edges.size and not 0 <= edges.min() <= edges.max() < n):
        raise ValueError(f"edge_index must be [2, E] of spots 0 to {n - 1}, got shape {list(edges.shape)}.")
    scores = np.full(expression.shape[1], np.nan)
    varies = expression.max(axis=0) != expression.min(axis=0)
    if edges.size and varies.any():
        source, target = edges
        weight = 1 / np.bincount(target, minlength=n)[target]
        graph = csr_matrix((weight, (target, source)), shape=(n, n))
        genes = np.flatnonzero(varies)
        for of in column_blocks(n, len(genes)):
            scores[genes[of]] = sc.metrics.morans_i(graph, np.ascontiguousarray(expression[:, genes[of]].T, np.float64))
    return scores


def ssim_on_grid(y_true: ArrayLike, y_pred: ArrayLike, grid: ArrayLike) -> Floats:
    """Structural similarity of each gene's measured and predicted map (Wang et al. 2004, equation 13).

    A map is an image with one pixel per place of the array, in units of the target's range. Visium leaves every second
    column of a row empty; its columns are halved, which shifts odd rows by half a place. Places without a spot hold the
    map's mean, which adds no edge, and do not count. The window is the usual Gaussian of 11 places, smaller on narrower
    arrays.

    Args:
        y_true: Target expression [N spots, G genes].
        y_pred: Predicted expression [N, G].
        grid: Array column and row [N, 2], integers; spots that share a place are averaged.

    Returns:
        float64 [G] in [-1, 1]: nan for constant targets, and for all genes on an array less than 3 places wide.

    Raises:
        ValueError: If the shapes are wrong or a value is not finite.
    """
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 2 or true.shape != pred.shape or not (np.isfinite(true).all() and np.isfinite(pred).all()):
        raise ValueError(
            "y_true and y_pred must be finite, [N spots, G genes], got shapes "
            f"{list(true.shape)} and {list(pred.shape)}."
        )
    places = _compact(grid, len(true))
    scores = np.full(true.shape[1], np.nan)
    columns, rows = places.max(axis=0) + 1
    radius = min(RADIUS, (min(columns, rows) - 1) // 2)
    low, high = (limit(axis=0).astype(np.float64) for limit in (true.min, true.max))
    varies = np.flatnonzero(high > low)
    if radius < 1 or not len(varies):
        return scores
    place, index = np.unique(places[:, 1] * columns + places[:, 0], return_inverse=True)
    for of in column_blocks(MAPS_AT_ONCE * columns * rows, len(varies)):
        genes = varies[of]
        images: list[Floats] = []
        for values in (true, pred):
            scaled = (values[:, genes].astype(np.float64) - low[genes]) / (high[genes] - low[genes])
            image = np.tile(scaled.mean(axis=0), (rows * columns, 1))
            sums = np.zeros((len(place), len(genes)))
            np.add.at(sums, index, scaled)
            image[place] = sums / np.bincount(index)[:, None]
            images.append(np.ascontiguousarray(image.T).reshape(len(genes), rows, columns))
        scores[genes] = _similarity(images[0], images[1], radius).reshape(len(genes), -1)[:, place].mean(axis=1)
    return scores


def _similarity(true: Floats, pred: Floats, radius: int) -> Floats:
    """Structural similarity at each place of maps [G, rows, columns] of range 1, mirrored at the border."""
    from scipy.ndimage import gaussian_filter

    sigma = SIGMA * radius / RADIUS

    def around(values: Floats) -> Floats:
        return np.asarray(gaussian_filter(values, (0, sigma, sigma), mode="mirror", truncate=radius / sigma))

    a, b = around(true), around(pred)
    covariance = around(true * pred) - a * b
    spread = (around(true**2) - a**2).clip(0) + (around(pred**2) - b**2).clip(0)
    return np.asarray((2 * a * b + C1) * (2 * covariance + C2) / ((a**2 + b**2 + C1) * (spread + C2)))


def _compact(grid: ArrayLike, n: int) -> NDArray[np.int64]:
    places = np.asarray(grid)
    if places.shape != (n, 2) or places.dtype.kind not in "iu" or not n:
        raise ValueError(f"grid must hold integers, [{n}, 2], got {places.dtype} {list(places.shape)}.")
    places = places.astype(np.int64)
    if len(np.unique(places.sum(axis=1) % 2)) == 1:  # a row has only even or only odd columns
        places[:, 0] //= 2
    return np.asarray(places - places.min(axis=0))
