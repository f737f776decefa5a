from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hist2st_pyg.metrics.calibration import coverage
from hist2st_pyg.nn.likelihoods import NB, ZINB

SHAPE = (400, 60)


def zinb(rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> dict[str, NDArray[np.float64]]:
    return {
        "mean": rng.gamma(1, 3, size=shape) + 0.01,
        "dispersion": rng.gamma(2, 1, size=shape) + 0.05,
        "dropout": rng.uniform(0, 0.5, size=shape),
    }


def draw(rng: np.random.Generator, key: str, size_factor: NDArray[Any]) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """A model's output, and counts of exactly its distribution."""
    if key == "zinb":
        out = zinb(rng)
        mean, r = out["mean"] * size_factor[:, None], out["dispersion"]
        counts = rng.poisson(rng.gamma(r, mean / r))
        return out, np.where(rng.uniform(size=SHAPE) < out["dropout"], 0, counts)
    out = {"log_r": rng.normal(size=SHAPE), "logit_p": rng.normal(size=SHAPE)}
    return out, rng.poisson(rng.gamma(np.exp(out["log_r"]), np.exp(out["logit_p"])))


@pytest.mark.parametrize("key", ["nb", "zinb"])
def test_counts_of_the_model_are_covered_at_the_level(key: str) -> None:
    rng = np.random.default_rng(0)
    size_factor = rng.gamma(8, 1 / 8, size=SHAPE[0])
    out, counts = draw(rng, key, size_factor)
    covered = coverage(out, counts, size_factor, levels=(0.1, 0.5, 0.9))
    assert list(covered) == [0.1, 0.5, 0.9]
    for level, share in covered.items():
        assert share == pytest.approx(level, abs=0.015)  # 24,000 counts; standard error below 0.0033


def test_wider_and_narrower_counts_are_not() -> None:
    rng = np.random.default_rng(1)
    ones = np.ones(SHAPE[0])
    out = {"mean": np.full(SHAPE, 20.0), "dispersion": np.full(SHAPE, 5.0), "dropout": np.full(SHAPE, 1e-6)}
    spread = rng.negative_binomial(0.5, 0.5 / 20.5, size=SHAPE)
    assert coverage(out, spread, ones)[0.9] < 0.75
    assert coverage(out, rng.poisson(20, size=SHAPE), ones)[0.5] > 0.7
    assert coverage(out, spread, 20 * ones)[0.9] < 0.3  # the size factor scales the mean


def test_the_distribution_is_the_loss_s() -> None:
    """Sums of exp(log-probability) over the counts are the same contributions."""
    rng = np.random.default_rng(2)
    size_factor, counts = np.array([0.5, 2.0, 1.0]), np.array([[0, 3], [1, 0], [7, 40]])
    out = zinb(rng, (3, 2))
    nb = {"log_r": rng.normal(size=(3, 2)), "logit_p": rng.normal(size=(3, 2))}

    def zinb_share(y: int, i: int, j: int) -> float:
        parameters = {key: torch.tensor(value[i, j]) for key, value in out.items()}
        return float(ZINB.log_prob(parameters, torch.tensor(float(y)), torch.tensor(size_factor[i])).exp())

    def nb_share(y: int, i: int, j: int) -> float:
        parameters = {key: torch.tensor(value[i, j]) for key, value in nb.items()}
        log_factorial = torch.lgamma(torch.tensor(y + 1.0))
        return float((NB.log_prob(parameters, torch.tensor(float(y)), torch.tensor(1.0)) - log_factorial).exp())

    for parameters, share in ((out, zinb_share), (nb, nb_share)):
        expected = []
        for i in range(3):
            for j in range(2):
                below = sum(share(y, i, j) for y in range(counts[i, j]))
                width = share(int(counts[i, j]), i, j)
                expected.append(max(0, min(below + width, 0.75) - max(below, 0.25)) / width)
        assert coverage(parameters, counts, size_factor)[0.5] == pytest.approx(np.mean(expected), abs=1e-5)


def test_a_distribution_of_zeros_alone_is_covered_by_its_level_and_far_counts_not() -> None:
    out = {"mean": np.full((5, 2), 1e-5), "dispersion": np.full((5, 2), 1e4), "dropout": np.full((5, 2), 0.5)}
    zeros = np.zeros((5, 2), dtype=int)
    assert coverage(out, zeros, np.zeros(5)) == {0.5: pytest.approx(0.5), 0.9: pytest.approx(0.9)}
    assert coverage(out, zeros + 500, np.ones(5)) == {0.5: 0, 0.9: 0}


def test_genes_that_were_not_measured_do_not_count() -> None:
    rng = np.random.default_rng(3)
    out, counts = draw(rng, "zinb", np.ones(SHAPE[0]))
    mask = np.arange(SHAPE[1]) < 20
    some = coverage({k: v[:, :20] for k, v in out.items()}, counts[:, :20], np.ones(SHAPE[0]))
    assert coverage(out, np.where(mask, counts, 0), np.ones(SHAPE[0]), mask=mask) == some


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"levels": (1.0,)}, "level must be between 0 and 1, got 1.0"),
        ({}, {"mask": np.zeros(2, dtype=bool)}, "at least one spot and one measured gene"),
        ({"mean": np.full((3, 2), np.nan)}, {}, "not finite or out of range"),
    ],
)
def test_bad_input_is_explained(change: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    out = {**zinb(np.random.default_rng(4), (3, 2)), **change}
    with pytest.raises(ValueError, match=message):
        coverage(out, np.ones((3, 2)), np.ones(3), **arguments)


def test_a_model_without_likelihood() -> None:
    with pytest.raises(ValueError, match="has no likelihood; build it with likelihood set to one of '"):
        coverage({"expression": np.ones((3, 2))}, np.ones((3, 2)), np.ones(3))


def test_a_block_of_genes_at_a_time_covers_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    size_factor = rng.gamma(8, 1 / 8, size=SHAPE[0])
    out, counts = draw(rng, "zinb", size_factor)
    mask = rng.random(SHAPE[1]) > 0.2
    whole = coverage(out, counts, size_factor, mask=mask)
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 7 * SHAPE[0])
    assert coverage(out, counts, size_factor, mask=mask) == pytest.approx(whole, abs=1e-14)
