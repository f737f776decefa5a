from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from _helpers.graphs import edges
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from hist2st_pyg import grid_edges, knn_edges, prune_distant, radius_edges
from hist2st_pyg.data import delaunay_edges

GOLDEN = Path(__file__).parents[1] / "golden" / "graphs.npz"
PRUNINGS = ("NA", "STD", "Grid")
# Few different values: many ties and shared positions. Then any.
TIED = hnp.arrays(np.float64, st.tuples(st.integers(1, 25), st.just(2)), elements=st.integers(0, 4).map(float))
SPREAD = hnp.arrays(np.float64, st.tuples(st.integers(1, 25), st.just(2)), elements=st.floats(-1e3, 1e3, width=32))


def brute_force(pos: NDArray[np.float64], k: int) -> list[list[int]]:
    """The k nearest others of each spot, by distance and then by index."""
    squared = ((pos[:, None] - pos) ** 2).sum(2)
    everyone = range(len(pos))
    return [sorted((j for j in everyone if j != i), key=lambda j: (squared[i, j], j))[:k] for i in everyone]


@pytest.mark.parametrize("section", [0, 1, 2])
@pytest.mark.parametrize("k", [4, 6, 8])
@pytest.mark.parametrize("pruning", PRUNINGS)
def test_the_graph_is_the_original_programs(section: int, k: int, pruning: str) -> None:
    with np.load(GOLDEN) as golden:
        grid, adjacency = golden[f"coords_{section}"], golden[f"adjacency_{section}_k{k}_{pruning}"] > 0
    edge_index, distance = knn_edges(grid, k, 2.0 if pruning == "Grid" else None)
    if pruning == "STD":
        edge_index, distance = prune_distant(edge_index, distance)
    between = cdist(grid, grid)
    for i in range(len(grid)):  # equidistant neighbors may be others, so the distances are compared
        np.testing.assert_allclose(np.sort(distance[edge_index[1] == i]), np.sort(between[i][adjacency[i]]))


# The k nearest.


@settings(max_examples=60, deadline=None)
@given(st.one_of(TIED, SPREAD), st.integers(1, 9))
def test_knn_is_brute_force(pos: NDArray[np.float64], k: int) -> None:
    edge_index, distance = knn_edges(pos, k)
    expected = brute_force(pos, k)
    assert edge_index.dtype == np.int64
    assert edge_index[1].tolist() == [i for i, row in enumerate(expected) for _ in row]  # sorted by target
    assert edge_index[0].tolist() == [j for row in expected for j in row]  # and by distance
    np.testing.assert_array_equal(distance, np.sqrt(((pos[edge_index[0]] - pos[edge_index[1]]) ** 2).sum(1)))


def test_ties_go_to_the_lower_index() -> None:
    #    3
    #  1 0 4     spot 0 has four neighbors at distance 1, spot 5 stands at distance 2
    #    2 . 5
    pos = np.array([[0, 0], [-1, 0], [0, 1], [0, -1], [1, 0], [2, 1]])
    edge_index, distance = knn_edges(pos, 2)
    assert edge_index[0][edge_index[1] == 0].tolist() == [1, 2]
    assert edge_index[0][edge_index[1] == 1].tolist() == [0, 2]
    assert edge_index[0][edge_index[1] == 4].tolist() == [0, 2]  # 2, 3 and 5 are all at the root of 2
    assert edge_index[0][edge_index[1] == 5].tolist() == [4, 2]
    np.testing.assert_allclose(distance[edge_index[1] == 5], [np.sqrt(2), 2])


def test_ties_on_a_large_array() -> None:
    # Every inner spot has ties at each k; the index runs along the rows.
    pos = np.stack(np.meshgrid(np.arange(30), np.arange(20)), -1).reshape(-1, 2)
    edge_index, _ = knn_edges(pos, 6)
    assert edge_index[0].reshape(-1, 6).tolist() == brute_force(pos.astype(float), 6)


def test_the_edge_runs_from_the_neighbor_to_the_spot() -> None:
    pos = np.array([[0.0, 0], [1, 0], [5, 0]])
    edge_index, distance = knn_edges(pos, 1)
    # Spot 2's nearest is spot 1, whose nearest is spot 0.
    assert edge_index.tolist() == [[1, 0, 1], [0, 1, 2]]
    assert distance.tolist() == [1, 1, 4]


def test_spots_at_one_place_are_neighbors_but_never_of_themselves() -> None:
    pos = np.array([[0.0, 0]] * 30 + [[1.0, 0]])
    edge_index, distance = knn_edges(pos, 3)
    assert not (edge_index[0] == edge_index[1]).any()
    assert edge_index[0].reshape(-1, 3).tolist() == brute_force(pos, 3)
    assert not distance[edge_index[1] != 30].any()


@pytest.mark.parametrize("k", [3, 4, 100])
def test_more_neighbors_than_spots_gives_all_others(k: int) -> None:
    pos = np.random.default_rng(0).random((4, 2))
    edge_index, _ = knn_edges(pos, k)
    assert edges(edge_index) == {(j, i) for j in range(4) for i in range(4) if i != j}


def test_one_spot_has_no_neighbors() -> None:
    one = np.array([[3.0, 4.0]])
    for edge_index, distance in (knn_edges(one, 4), radius_edges(one, 2.0), grid_edges(np.array([[1, 1]]), 2)):
        assert edge_index.shape == (2, 0)
        assert edge_index.dtype == np.int64
        assert distance.shape == (0,)
    assert knn_edges(torch.tensor([[3.0, 4.0]]), 4)[0].dtype == torch.int64


def test_far_neighbors_are_dropped() -> None:
    pos = np.array([[0.0, 0], [1, 0], [3, 0], [9, 0]])
    edge_index, distance = knn_edges(pos, 2, max_distance=2.0)
    assert edges(edge_index) == {(1, 0), (0, 1), (2, 1), (1, 2)}  # a distance of exactly 2 stays, spot 3 is alone
    assert float(distance.max()) == 2.0


# Within a radius.


@settings(max_examples=40, deadline=None)
@given(TIED, st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]))
def test_radius_is_the_dense_distance_matrix(pos: NDArray[np.float64], radius: float) -> None:
    edge_index, distance = radius_edges(pos, radius)
    between = cdist(pos, pos)
    near = (between <= radius) & ~np.eye(len(pos), dtype=bool)
    assert edges(edge_index) == {(int(j), int(i)) for i, j in np.argwhere(near)}
    np.testing.assert_allclose(distance, between[edge_index[1], edge_index[0]])
    order = np.lexsort((edge_index[0], edge_index[1]))
    assert order.tolist() == list(range(len(order)))


# Along the array.


def test_a_square_of_four_spots() -> None:
    # 0 1
    # 2 3
    grid = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    edge_index, steps = grid_edges(grid)
    assert edge_index.tolist() == [[1, 2, 0, 3, 0, 3, 1, 2], [0, 0, 1, 1, 2, 2, 3, 3]]
    assert steps.tolist() == [1.0] * 8
    edge_index, steps = grid_edges(grid, rings=2)
    reached = {(int(j), int(i)): float(s) for j, i, s in zip(*edge_index, steps, strict=True)}
    assert len(reached) == len(steps) == 12
    assert {pair for pair, s in reached.items() if s == 2} == {(0, 3), (3, 0), (1, 2), (2, 1)}


def test_steps_go_from_spot_to_spot() -> None:
    # 0 . 2   the gap between 0 and 2 is not crossed, the way round takes four steps
    # 3 4 5
    grid = np.array([[0, 0], [9, 9], [2, 0], [0, 1], [1, 1], [2, 1]])
    steps = {}
    for rings in (1, 2, 3, 4):
        edge_index, distance = grid_edges(grid, rings)
        steps[rings] = {(int(j), int(i)): float(s) for j, i, s in zip(*edge_index, distance, strict=True)}
    assert (0, 2) not in steps[3]
    assert steps[4][0, 2] == steps[4][2, 0] == 4
    assert not any(1 in pair for pair in steps[4])


def test_a_hexagon_has_six_neighbors() -> None:
    # Visium: the columns of even rows are even, those of odd rows odd.
    #   1 2
    #  3 0 4
    #   5 6
    grid = np.array([[4, 2], [3, 1], [5, 1], [2, 2], [6, 2], [3, 3], [5, 3]])
    edge_index, steps = grid_edges(grid, hexagonal=True)
    around = {i: sorted(edge_index[0][edge_index[1] == i].tolist()) for i in range(7)}
    assert around == {
        0: [1, 2, 3, 4, 5, 6],
        1: [0, 2, 3],
        2: [0, 1, 4],
        3: [0, 1, 5],
        4: [0, 2, 6],
        5: [0, 3, 6],
        6: [0, 4, 5],
    }
    assert set(steps) == {1.0}
    # On a square array only the four sides touch, and these columns are two apart.
    assert edges(grid_edges(grid)[0]) == set()


@pytest.mark.parametrize("rings", [1, 2, 3])
def test_rings_of_a_full_hexagonal_array_hold_6_12_18_spots(rings: int) -> None:
    grid = np.array([[c, r] for r in range(13) for c in range(26) if c % 2 == r % 2])
    edge_index, steps = grid_edges(grid, rings, hexagonal=True)
    center = int(np.flatnonzero((grid == [12, 6]).all(1))[0])
    mine = steps[edge_index[1] == center]
    assert [int((mine == ring).sum()) for ring in range(1, rings + 1)] == [6 * ring for ring in range(1, rings + 1)]


def test_rings_of_a_full_square_array_are_city_blocks() -> None:
    grid = np.stack(np.meshgrid(np.arange(7), np.arange(6)), -1).reshape(-1, 2)
    edge_index, steps = grid_edges(grid, rings=3)
    blocks = cdist(grid, grid, "cityblock")
    assert edges(edge_index) == {(int(j), int(i)) for i, j in np.argwhere((blocks > 0) & (blocks <= 3))}
    np.testing.assert_array_equal(steps, blocks[edge_index[1], edge_index[0]])


# Pruning.


def test_pruning_by_hand() -> None:
    # Spot 0: distances 1, 1, 1, 5 have mean 2 and deviation 1.73; spot 1: 2 and 2 have deviation 0 and stay.
    edge_index = np.array([[1, 2, 3, 4, 0, 2], [0, 0, 0, 0, 1, 1]])
    distance = np.array([1.0, 1.0, 1.0, 5.0, 2.0, 2.0])
    kept, left = prune_distant(edge_index, distance)
    assert kept.tolist() == [[1, 2, 3, 0, 2], [0, 0, 0, 1, 1]]
    assert left.tolist() == [1, 1, 1, 2, 2]


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(1, 9))
def test_equal_distances_all_stay(distance: float, k: int) -> None:
    edge_index = np.stack([np.arange(k), np.full(k, k)])
    kept, _ = prune_distant(edge_index, np.full(k, distance))
    assert kept.shape[1] == k


def test_pruning_no_edges() -> None:
    kept, left = prune_distant(np.empty((2, 0), dtype=np.int64), np.empty(0))
    assert kept.shape == (2, 0)
    assert left.shape == (0,)


# What goes in and what comes out.


def test_torch_in_torch_out() -> None:
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(3)), -1).reshape(-1, 2)
    for function, arguments in ((knn_edges, (3,)), (radius_edges, (1.5,)), (grid_edges, (2,))):
        expected_index, expected = function(grid, *arguments)
        for given_grid in (torch.from_numpy(grid), torch.from_numpy(grid).float()):
            edge_index, distance = function(given_grid, *arguments)
            assert isinstance(edge_index, torch.Tensor)
            assert edge_index.dtype == torch.int64
            assert distance.dtype == torch.float32
            np.testing.assert_array_equal(edge_index.numpy(), expected_index)
            np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-6)
    edge_index, distance = knn_edges(torch.from_numpy(grid), 6)
    kept, left = prune_distant(edge_index, distance)
    expected_index, expected = prune_distant(*knn_edges(grid, 6))
    assert isinstance(kept, torch.Tensor)
    np.testing.assert_array_equal(kept.numpy(), expected_index)
    assert len(left) == len(expected) < len(distance)


def test_positions_that_cannot_be_are_refused() -> None:
    for pos in (np.zeros((3, 3)), np.zeros(4), np.zeros((0, 2)), np.array([[0, np.nan]]), torch.zeros(2, 3)):
        for function, arguments in ((knn_edges, (2,)), (radius_edges, (1.0,)), (grid_edges, ())):
            with pytest.raises(ValueError, match=r"Positions must be finite \[N, 2\] of at least one spot"):
                function(pos, *arguments)


def test_arguments_that_cannot_be_are_refused() -> None:
    pos = np.array([[0, 0], [1, 0]])
    for wrong in (-1.0, 0.0, float("nan")):
        with pytest.raises(ValueError, match=f"max_distance must be positive, got {wrong}"):
            knn_edges(np.zeros((3, 2)), 1, max_distance=wrong)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        knn_edges(pos, 0)
    for radius in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="radius must be positive, got"):
            radius_edges(pos, radius)
    with pytest.raises(ValueError, match="rings must be at least 1, got 0"):
        grid_edges(pos, 0)
    for grid in (np.array([[0, 0], [0, 0]]), np.array([[0.5, 0], [1, 0]])):
        with pytest.raises(ValueError, match="array positions must be integers, each of one spot"):
            grid_edges(grid)


# The choice by key.


def test_delaunay_is_squidpys() -> None:
    squidpy = pytest.importorskip("squidpy")
    pos = np.random.default_rng(0).uniform(0, 100, (60, 2))
    adata = anndata.AnnData(np.zeros((60, 1)), obsm={"spatial": pos})
    squidpy.gr.spatial_neighbors(adata, delaunay=True, coord_type="generic")
    edge_index, distance = delaunay_edges(pos)
    between = adata.obsp["spatial_distances"].tocoo()
    assert edges(edge_index) == set(zip(between.coords[0].tolist(), between.coords[1].tolist(), strict=True))
    np.testing.assert_allclose(distance, cdist(pos, pos)[edge_index[0], edge_index[1]])


def test_three_spots_on_a_line_have_no_triangle() -> None:
    with pytest.raises(ValueError, match="delaunay_edges: the 3 spots span no triangle"):
        delaunay_edges(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))


def test_rings_beyond_the_array_take_no_time() -> None:
    grid = np.array([[0, 0], [1, 0], [2, 0]])
    edge_index, steps = grid_edges(grid, rings=10**9)
    assert edges(edge_index) == {(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)}
    assert steps.tolist() == [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]
    assert grid_edges(grid[:1], rings=3)[0].shape == (2, 0)
