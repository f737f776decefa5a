from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate
from torchmetrics.functional.image import structural_similarity_index_measure

from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i, ssim_on_grid


def square(columns: int, rows: int) -> NDArray[np.int64]:
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)


def staggered(columns: int, rows: int) -> NDArray[np.int64]:
    """Visium's numbering: even columns in even rows, odd in odd."""
    grid = square(columns, rows)
    grid[:, 0] = 2 * grid[:, 0] + grid[:, 1] % 2
    return grid


def dense_morans_i(x: NDArray[Any], edges: NDArray[Any]) -> float:
    weights = np.zeros((len(x), len(x)))
    weights[edges[1], edges[0]] = 1
    weights /= np.maximum(weights.sum(1, keepdims=True), 1)
    z = x - x.mean()
    return float(len(x) / weights.sum() * (z @ weights @ z) / (z @ z))


def test_adjacent_spots() -> None:
    inner = 5 * 12 + 6
    assert np.bincount(adjacent_edges(30.0 * square(12, 9))[1])[inner] == 8
    hexagonal = staggered(12, 9) * np.array([50.0, 50 * 3**0.5])
    assert np.bincount(adjacent_edges(hexagonal)[1])[inner] == 6


def test_morans_i_is_that_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(0)
    edges = rng.integers(40, size=(2, 130))
    edges = np.unique(edges[:, (edges[0] != edges[1]) & (edges[1] != 3)], axis=1)  # directed; spot 3 has no neighbor
    values = rng.normal(size=(40, 5))
    expected = [dense_morans_i(values[:, g], edges) for g in range(5)]
    np.testing.assert_allclose(morans_i(values, edges), expected, rtol=0, atol=1e-12)


def test_morans_i_is_high_of_smooth_and_low_of_random_maps() -> None:
    grid = square(20, 20)
    edges = adjacent_edges(grid.astype(float))
    values = np.stack([grid[:, 0], np.random.default_rng(0).normal(size=400), grid.sum(1) % 2], axis=1)
    smooth, random, _ = morans_i(values, edges)
    assert smooth > 0.9
    assert abs(random) < 0.1
    four = edges[:, np.abs(grid[edges[0]] - grid[edges[1]]).sum(1) == 1]
    assert morans_i(values, four)[2] == pytest.approx(-1)


def test_morans_i_of_a_constant_and_without_edges_is_nan_and_warns_of_nothing() -> None:
    edges = np.array([[0, 1, 2], [1, 2, 0]])
    values = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = morans_i(values, edges)
        assert np.isnan(morans_i(values, np.zeros((2, 0), dtype=int))).all()
        assert morans_i(values[:, :0], edges).shape == (0,)
    np.testing.assert_array_equal(np.isnan(scores), [True, False])


@pytest.mark.parametrize(
    ("values", "edges", "message"),
    [
        (np.ones(3), np.zeros((2, 1), int), r"shape \[3\]"),
        (np.full((3, 1), np.nan), np.zeros((2, 1), int), "values must be finite"),
        (np.ones((3, 1)), np.zeros((3, 2), int), r"edge_index must be \[2, E\] of spots 0 to 2, got shape \[3, 2\]"),
        (np.ones((3, 1)), np.array([[0], [3]]), "spots 0 to 2"),
    ],
)
def test_morans_i_explains_bad_input(values: Any, edges: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        morans_i(values, edges)


def reference_ssim(true: NDArray[Any], pred: NDArray[Any], radius: int = 5, sigma: float = 1.5) -> NDArray[np.float64]:
    """Wang et al. 2004, equation 13, of images with range 1, mirrored at the border."""
    steps = np.arange(-radius, radius + 1)
    bell = np.exp(-(steps**2) / (2 * sigma**2))
    window = np.outer(bell, bell) / bell.sum() ** 2

    def mean(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(correlate(image, window, mode="mirror"))

    a, b = mean(true), mean(pred)
    var_a, var_b, cov = mean(true**2) - a**2, mean(pred**2) - b**2, mean(true * pred) - a * b
    c1, c2 = 0.01**2, 0.03**2
    return np.asarray((2 * a * b + c1) * (2 * cov + c2) / ((a**2 + b**2 + c1) * (var_a + var_b + c2)))


@pytest.mark.parametrize(("columns", "rows", "radius"), [(14, 12, 5), (11, 30, 5), (9, 20, 4), (8, 8, 3), (4, 3, 1)])
def test_ssim_is_the_equation(columns: int, rows: int, radius: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.gamma(2, 1, size=(columns * rows, 3))
    pred = 0.5 * true + rng.normal(size=true.shape)
    shuffle = rng.permutation(len(true))
    scores = ssim_on_grid(true[shuffle], pred[shuffle], square(columns, rows)[shuffle] + 7)
    low, span = true.min(0), np.ptp(true, axis=0)
    images = [((v - low) / span).T.reshape(3, rows, columns) for v in (true, pred)]
    expected = [reference_ssim(a, b, radius, 0.3 * radius).mean() for a, b in zip(*images, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


def test_ssim_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(7)
    true, pred = rng.uniform(size=(2, 14 * 12, 3))
    true[0], true[1] = 0, 1
    images = [torch.from_numpy(values.T.reshape(1, 3, 12, 14)) for values in (pred, true)]
    _, full = structural_similarity_index_measure(*images, sigma=1.5, data_range=1.0, return_full_image=True)
    np.testing.assert_allclose(ssim_on_grid(true, pred, square(14, 12)), full[0].mean((1, 2)), rtol=0, atol=1e-12)


def test_places_without_a_spot_hold_the_mean_and_do_not_count() -> None:
    rng = np.random.default_rng(1)
    true, pred = rng.uniform(size=(2, 15 * 13, 1))
    there = rng.uniform(size=15 * 13) > 0.3
    there[[0, -1]] = True  # the array keeps its size
    low, span = true[there].min(), np.ptp(true[there])
    images = []
    for values in (true, pred):
        image = np.full(15 * 13, ((values[there] - low) / span).mean())
        image[there] = ((values[there] - low) / span)[:, 0]
        images.append(image.reshape(13, 15))
    expected = reference_ssim(*images).ravel()[there].mean()
    assert ssim_on_grid(true[there], pred[there], square(15, 13)[there])[0] == pytest.approx(expected, abs=1e-12)


def test_visium_s_array_is_that_without_its_empty_columns() -> None:
    rng = np.random.default_rng(2)
    true, pred = rng.uniform(size=(2, 12 * 11, 4))
    expected = ssim_on_grid(true, pred, square(12, 11))
    np.testing.assert_array_equal(ssim_on_grid(true, pred, staggered(12, 11)), expected)
    odd = staggered(12, 11) + np.array([1, 0])
    odd[:, 0] -= 2 * (odd[:, 1] % 2)  # odd columns in even rows
    np.testing.assert_array_equal(ssim_on_grid(true, pred, odd), expected)


def test_the_same_map_is_1_and_a_smoothed_or_constant_one_less() -> None:
    grid = square(16, 16)
    rng = np.random.default_rng(3)
    true = rng.uniform(size=(256, 1))
    assert ssim_on_grid(true, true, grid)[0] == pytest.approx(1)
    smooth = correlate(true.reshape(16, 16), np.full((3, 3), 1 / 9)).reshape(-1, 1)
    constant = np.full_like(true, true.mean())
    assert 0.9 > ssim_on_grid(true, smooth, grid)[0] > ssim_on_grid(true, constant, grid)[0]


def test_many_genes_are_as_one_by_one() -> None:
    true, pred = np.random.default_rng(4).uniform(size=(2, 100, 130))
    one_by_one = [ssim_on_grid(true[:, [g]], pred[:, [g]], square(10, 10))[0] for g in range(130)]
    np.testing.assert_allclose(ssim_on_grid(true, pred, square(10, 10)), one_by_one, rtol=0, atol=1e-12)


def test_spots_at_one_place_are_averaged() -> None:
    true, pred = np.random.default_rng(5).uniform(size=(2, 144, 2))
    true[0], true[1] = -1, 2  # the range stays too
    twice = [np.concatenate([values, values[-1:] + 0.02]) for values in (true, pred)]
    for values in twice:
        values[-2] -= 0.02  # the mean of both stays
    grid = square(12, 12)
    expected = ssim_on_grid(true, pred, grid)
    np.testing.assert_allclose(ssim_on_grid(*twice, np.concatenate([grid, grid[-1:]])), expected, atol=1e-12)


def test_ssim_without_a_varying_target_or_a_window_is_nan() -> None:
    rng = np.random.default_rng(6)
    true, pred = rng.uniform(size=(2, 100, 2))
    true[:, 1] = 0.1
    np.testing.assert_array_equal(np.isnan(ssim_on_grid(true, pred, square(10, 10))), [False, True])
    assert np.isnan(ssim_on_grid(true, pred, square(2, 50))).all()
    assert ssim_on_grid(true[:, :0], pred[:, :0], square(10, 10)).shape == (0,)


@pytest.mark.parametrize(
    ("true", "pred", "grid", "message"),
    [
        (np.ones((9, 1)), np.ones((9, 2)), square(3, 3), r"shapes \[9, 1\] and \[9, 2\]"),
        (np.ones((9, 1)), np.full((9, 1), np.inf), square(3, 3), "finite"),
        (np.ones((9, 1)), np.ones((9, 1)), square(3, 3).astype(float), r"integers, \[9, 2\], got float64"),
        (np.ones((9, 1)), np.ones((9, 1)), square(3, 2), r"got int64 \[6, 2\]"),
        (np.ones((0, 1)), np.ones((0, 1)), square(3, 0), r"integers, \[0, 2\]"),
    ],
)
def test_ssim_explains_bad_input(true: Any, pred: Any, grid: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ssim_on_grid(true, pred, grid)


def test_genes_are_the_same_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.divmod(np.arange(144), 12), axis=1)
    true, pred = rng.normal(size=(2, 144, 7)).cumsum(axis=1)
    edges = adjacent_edges(grid.astype(float))
    scores = [morans_i(true, edges), ssim_on_grid(true, pred, grid), pearson_per_gene(true, pred)]
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 2 * 12 * 144)
    few = [morans_i(true, edges), ssim_on_grid(true, pred, grid)]
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 2 * 144)
    few.append(pearson_per_gene(true, pred))
    np.testing.assert_allclose(few, scores, rtol=1e-12)
