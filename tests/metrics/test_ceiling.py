from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import gamma, norm

from hist2st_pyg import load_sections
from hist2st_pyg.data.expression import panel_counts
from hist2st_pyg.datasets import paper_panel
from hist2st_pyg.evaluation import noise_ceiling, pearson_per_gene


def target(counts: Any, totals: Any) -> Any:
    return np.log10(1 + 1e4 * counts / np.maximum(totals, 1)[:, None])


@pytest.mark.parametrize(("name", "mean", "median"), [("C4", 0.415, 0.397), ("B4", 0.289, 0.268)])
def test_reference_values(real_data: Path, name: str, mean: float, median: float) -> None:
    root = real_data / "her2st"
    (section,) = load_sections("her2st", root=root, names=[name])
    counts, mask = panel_counts(section, paper_panel("her2st", root))
    ceiling = noise_ceiling(counts, mask=mask)
    assert np.nanmean(ceiling) == pytest.approx(mean, abs=0.01)
    assert np.nanmedian(ceiling) == pytest.approx(median, abs=0.01)


def made_section(sd: float, tissue: float, kind: str) -> tuple[Any, Any, Any]:
    """Counts [400, 200] of known shares, and the part of the standardized log depth that the tissue decides.

    Args:
        sd: Standard deviation of the log depth.
        tissue: The correlation of the log depth with one of the tissue's fields, which changes the shares, too.
        kind: How a gene's share varies: log-normal, gamma, or by two zones.
    """
    rng = np.random.default_rng(4)
    pos, waves = rng.uniform(size=(400, 2)), rng.normal(scale=4, size=(2, 5))
    fields = np.sin(pos @ waves + rng.uniform(0, 6, size=5))
    fields = (fields - fields.mean(0)) / fields.std(0)
    lead = tissue * fields[:, 0]
    z = fields @ rng.normal(scale=0.4, size=(5, 200)) + rng.normal(scale=0.5, size=(400, 200))
    width = rng.uniform(0.1, 0.8, size=200)
    varies = {
        "lognormal": np.exp(width * z),
        "gamma": gamma.ppf(norm.cdf(z / z.std(0)), width**-2),
        "zones": 1 + 3 * width * (z > 0.3),
    }
    shares = np.exp(rng.normal(scale=1.2, size=200)) * varies[kind] / varies[kind].mean(0)
    shares /= shares.sum(1, keepdims=True)
    depth = 600 * np.exp(sd * (lead + np.sqrt(1 - tissue**2) * rng.normal(size=400)))
    return rng.poisson(depth[:, None] * shares), shares, lead


@pytest.mark.parametrize(("kind", "within"), [("lognormal", 0.02), ("gamma", 0.02), ("zones", 0.03)])
@pytest.mark.parametrize("sd", [0.0, 0.3, 0.5, 0.8])
def test_depth_that_nothing_tells_is_not_attainable(sd: float, kind: str, within: float) -> None:
    counts, shares, _ = made_section(sd, 0.0, kind)
    reached = pearson_per_gene(target(counts, counts.sum(1)), np.log10(1 + 1e4 * shares))
    assert noise_ceiling(counts, repeats=5).mean() == pytest.approx(reached.mean(), abs=within)


@pytest.mark.parametrize("kind", ["lognormal", "gamma"])
@pytest.mark.parametrize("sd", [0.3, 0.5, 0.8])
def test_depth_that_the_tissue_decides_is_attainable(sd: float, kind: str) -> None:
    """A model that knows all shares knows the tissue, and with it the depth; a plain regression is the reference."""
    counts, shares, lead = made_section(sd, 0.7, kind)
    y = target(counts, counts.sum(1))
    reached = []
    for gene in range(200):
        known = np.column_stack([np.ones(400), np.log10(1 + 1e4 * shares[:, gene]), lead])
        residual = y[:, gene] - known @ np.linalg.lstsq(known, y[:, gene])[0]
        reached.append(np.sqrt(max(1 - residual @ residual / 397 / y[:, gene].var(ddof=1), 0)))
    assert noise_ceiling(counts, repeats=5).mean() == pytest.approx(np.mean(reached), abs=0.02)


def test_shares_that_run_against_the_target_reach_nothing() -> None:
    """A rare gene's target rises with the depth; here its share falls, and alone foretells the opposite."""
    rng = np.random.default_rng(6)
    totals = np.exp(rng.normal(6, 1, size=2000)).astype(int) + 1
    counts = np.minimum(rng.poisson(0.2 * (totals / 400) ** 0.6), totals)[:, None]
    assert noise_ceiling(counts, totals) == 0


@pytest.mark.parametrize("over_all_genes", [False, True])
def test_it_is_what_the_true_rates_reach(over_all_genes: bool) -> None:
    """The true expression is the perfect prediction of Poisson counts; its PCC is what the ceiling estimates."""
    rng = np.random.default_rng(0)
    others = 2000 * rng.gamma(20, 1 / 20, size=1500)
    rates = rng.gamma(4, 1 / 4, size=(1500, 40)) * rng.uniform(4, 40, size=40)
    counts, rest = rng.poisson(rates), rng.poisson(others)
    totals = counts.sum(1) + rest if over_all_genes else counts.sum(1)
    truth = target(rates, rates.sum(1) + others if over_all_genes else rates.sum(1))
    reached = pearson_per_gene(target(counts, totals), truth)
    ceiling = noise_ceiling(counts, totals if over_all_genes else None)
    assert 0.5 < reached.min() < reached.max() < 0.96
    np.testing.assert_allclose(ceiling, reached, atol=0.06)
    assert ceiling.mean() == pytest.approx(reached.mean(), abs=0.015)


def test_noise_alone_has_a_ceiling_near_0_and_depth_raises_it() -> None:
    rng = np.random.default_rng(1)
    flat = rng.poisson(5, size=(3000, 30))
    assert noise_ceiling(flat, np.full(3000, 1000)).mean() < 0.15
    rates = rng.gamma(4, 1 / 4, size=(400, 30))
    shallow, deep = (noise_ceiling(rng.poisson(depth * rates)).mean() for depth in (2, 200))
    assert shallow < 0.8 < 0.98 < deep


def test_genes_without_a_ceiling() -> None:
    rng = np.random.default_rng(2)
    counts = rng.poisson(20, size=(500, 5)).astype(np.float32)
    counts[:, 1] = 0
    counts[:, 2] = 0
    counts[7, 2] = 1
    ceiling = noise_ceiling(counts, mask=np.array([True, True, True, False, True]))
    np.testing.assert_array_equal(np.isnan(ceiling), [False, True, False, True, False])
    assert ceiling[2] < 0.2  # one molecule tells of nothing
    assert ((ceiling >= 0) & (ceiling <= 1))[[0, 2, 4]].all()


def test_the_seed_decides_and_the_total_matters() -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(2, 3, size=(80, 6)))
    np.testing.assert_array_equal(noise_ceiling(counts, seed=5), noise_ceiling(counts, seed=5))
    assert (noise_ceiling(counts, seed=5) != noise_ceiling(counts, seed=6)).any()
    np.testing.assert_array_equal(noise_ceiling(counts, counts.sum(1)), noise_ceiling(counts))
    assert (noise_ceiling(counts, counts.sum(1) + 500) != noise_ceiling(counts)).all()


@pytest.mark.parametrize(
    ("counts", "arguments", "message"),
    [
        (np.full((4, 2), 0.5), {}, r"counts must hold whole numbers from 0 \(raw counts\), got 0.5"),
        (np.full((4, 2), -1), {}, "counts must hold whole numbers from 0 .* got -1"),
        (np.full((4, 2), np.nan), {}, "counts must hold whole numbers from 0 .* got nan"),
        (np.ones(4), {}, r"counts must have 2 dimensions, got shape \[4\]"),
        (np.ones((4, 2)), {"totals": np.ones(4)}, "not below the spot's counts of the panel"),
        (np.ones((4, 2)), {"totals": np.full(3, 9)}, r"for each of 4 spots, .* shape \[3\]"),
        (np.ones((4, 2)), {"repeats": 0}, "repeats must be 1 or more, got 0"),
        (np.ones((1, 2)), {}, "at least 2 spots"),
    ],
)
def test_bad_input_is_explained(counts: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_ceiling(counts, **arguments)


def test_some_spots_stand_for_a_large_section(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(2, 1.0, (3000, 4)) * rng.lognormal(0, 0.3, (3000, 1)))
    totals = counts.sum(1) + 10
    whole = noise_ceiling(counts, totals, repeats=2)
    monkeypatch.setattr("hist2st_pyg.metrics.ceiling.MOST_SPOTS", 1500)
    some = noise_ceiling(counts, totals, repeats=2)
    np.testing.assert_allclose(some, whole, atol=0.06)
    assert not np.array_equal(some, whole)
    np.testing.assert_array_equal(noise_ceiling(counts, totals, repeats=2), some)
    with pytest.raises(ValueError, match="totals must have one value for each of"):
        noise_ceiling(counts, totals[:1600], repeats=2)


def test_a_block_of_genes_at_a_time_has_the_ceiling_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, _, _ = made_section(0.5, 0.5, "gamma")
    mask = np.arange(200) != 17
    whole = noise_ceiling(counts, mask=mask)
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 30 * 400)
    parts = noise_ceiling(counts, mask=mask)
    assert np.isnan(parts).nonzero() == np.isnan(whole).nonzero() == (17,)
    assert np.nanmax(abs(parts - whole)) < 0.05  # the shares are drawn in another order
    assert np.nanmean(parts) == pytest.approx(np.nanmean(whole), abs=0.003)


def test_a_mask_of_other_genes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask must have one value for each of 3 genes, got \[4\]\."):
        noise_ceiling([[1, 2, 3], [2, 3, 1]], mask=np.ones(4, dtype=bool))
