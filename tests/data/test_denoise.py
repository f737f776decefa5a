from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq

from hist2st_pyg.data.denoise import denoise, shrinkage

Floats = NDArray[np.float64]
SHAPES = [(300, 41), (41, 300), (140, 101)]


def low_rank(shape: tuple[int, int], strengths: list[float], seed: int = 0) -> Floats:
    """A signal whose singular values are so many times what noise of deviation 1 alone can reach."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(side, len(strengths))))[0] for side in shape)
    edge = np.sqrt(shape[0]) + np.sqrt(shape[1])
    return np.asarray((u * edge * np.array(strengths)) @ v.T)


def noise(shape: tuple[int, int], seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=shape)


def error(a: Floats, b: Floats) -> float:
    return float(((a - b) ** 2).mean())


def run(values: Floats) -> tuple[Floats, int]:
    kept, components = denoise(torch.from_numpy(values))
    return kept.numpy(), components


def median_of_noise(beta: float) -> float:
    """The median singular value of noise of variance 1 / longer side, by the law of Marchenko and Pastur.

    In place of an eigenvalue its root t, and in place of t an angle, so that nothing is singular at the edges.
    """
    center, half = 1 + beta, 2 * np.sqrt(beta)

    def density(angle: float) -> float:
        x = center - half * np.cos(angle)
        return float((half * np.sin(angle)) ** 2 / (2 * np.pi * beta * x))

    def mass(angle: float) -> float:
        return float(quad(density, 1e-12, angle, epsabs=1e-12)[0])

    assert mass(np.pi) == pytest.approx(1, abs=1e-6)
    angle = brentq(lambda angle: mass(angle) - 0.5, 0.01, np.pi)
    return float(np.sqrt(center - half * np.cos(angle)))


def by_numpy(values: Floats) -> Floats:
    """Gavish & Donoho's shrinker for the Frobenius loss, one component after the other."""
    mean = values.mean(0)
    u, s, v = np.linalg.svd(values - mean, full_matrices=False)
    beta = min(values.shape) / max(values.shape)
    level = np.median(s) / median_of_noise(beta)
    result = np.tile(mean, (len(values), 1))
    for i, y in enumerate(s / level):
        if y > 1 + np.sqrt(beta):
            result += level * np.sqrt((y**2 - beta - 1) ** 2 - 4 * beta) / y * np.outer(u[:, i], v[i])
    return result


@pytest.mark.parametrize(
    "shape",
    [*SHAPES, (101, 101), (300, 6)],
)
def test_it_is_gavish_and_donoho_s_shrinker(shape: tuple[int, int]) -> None:
    values = 3 + low_rank(shape, [3.0, 1.5, 1.0]) + noise(shape)
    np.testing.assert_allclose(run(values)[0], by_numpy(values), atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_comes_nearer_to_the_signal_than_any_truncation(shape: tuple[int, int]) -> None:
    signal = low_rank(shape, [3.0, 2.0, 1.2, 0.9])
    values = signal + noise(shape)
    u, s, v = np.linalg.svd(values - values.mean(0), full_matrices=False)
    truncated = [values.mean(0) + (u[:, :k] * s[:k]) @ v[:k] for k in range(12)]
    got = error(run(values)[0], signal)
    assert got < 0.25 * error(values, signal)
    assert got <= min(error(t, signal) for t in truncated)


@pytest.mark.parametrize("deviation", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(300, 41), (41, 300)])
def test_the_components_of_a_clear_signal_are_counted(shape: tuple[int, int], deviation: float) -> None:
    for rank in (1, 4):
        values = deviation * (low_rank(shape, [2.0 + i for i in range(rank)]) + noise(shape))
        assert run(values)[1] == rank


@pytest.mark.parametrize("shape", SHAPES)
def test_of_noise_hardly_anything_is_kept(shape: tuple[int, int]) -> None:
    counts = []
    for seed in range(8):
        values = noise(shape, seed)
        kept, components = run(values)
        counts.append(components)
        assert (kept - values.mean(0)).var() < 0.06  # of 1
        if components == 0:
            np.testing.assert_allclose(kept, np.broadcast_to(values.mean(0), shape), atol=1e-12)
    assert counts.count(0) >= 4
    assert max(counts) <= 3


@pytest.mark.parametrize("shape", SHAPES)
def test_each_gene_keeps_its_mean(shape: tuple[int, int]) -> None:
    means = np.linspace(-50, 80, shape[1])
    values = low_rank(shape, [2.0, 1.5]) + noise(shape)
    kept, components = run(values + means)
    np.testing.assert_allclose(kept.mean(0), (values + means).mean(0), atol=1e-9)
    again, same = run(values)
    assert components == same >= 2
    np.testing.assert_allclose(kept - means, again, atol=1e-9)  # levels do not matter


def test_the_order_of_spots_and_genes_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values = low_rank((90, 31), [2.0, 1.5]) + noise((90, 31))
    rows, columns = rng.permutation(90), rng.permutation(31)
    np.testing.assert_allclose(run(values[rows][:, columns])[0], run(values)[0][rows][:, columns], atol=1e-9)


def test_single_precision_stays_single() -> None:
    values = low_rank((90, 31), [2.0, 1.5]) + noise((90, 31))
    single = torch.from_numpy(values).float()
    before = single.clone()
    kept, components = denoise(single)
    assert (kept.dtype, kept.shape, components) == (torch.float32, single.shape, 2)
    np.testing.assert_allclose(kept, run(values)[0], atol=1e-4)
    assert torch.equal(single, before)


def test_values_that_do_not_vary_have_no_component() -> None:
    values = np.tile(np.arange(7.0), (20, 1))
    kept, components = run(values)
    assert components == 0
    np.testing.assert_array_equal(kept, values)


def test_without_noise_nothing_is_taken_away() -> None:
    signal = low_rank((90, 31), [2.0, 1.5])
    kept, components = run(signal)
    assert components == 2
    np.testing.assert_allclose(kept, signal, atol=1e-9)


@pytest.mark.parametrize(
    "values",
    [
        noise((300, 41)),
        low_rank((41, 300), [3.0, 1.5]) + noise((41, 300)),
        low_rank((140, 101), [3.0, 1.5, 1.2]) + noise((140, 101)),
        low_rank((90, 31), [2.0, 1.5]),
        np.tile(np.arange(7.0), (20, 1)),
    ],
    ids=["noise", "wide", "tall", "without noise", "constant"],
)
def test_a_matrix_in_rows_is_denoised_as_it_is_whole(values: Floats) -> None:
    matrix = 2 + torch.from_numpy(values)
    centered = matrix - matrix.mean(0)
    shrink = shrinkage(matrix.mean(0), centered.T @ centered, len(matrix))
    expected, components = denoise(matrix)
    assert len(shrink.kept) == components
    got = torch.cat([shrink(rows) for rows in matrix.split(7)])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-7)
