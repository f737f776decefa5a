from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr

from hist2st_pyg.data.expression import log_expression
from hist2st_pyg.metrics import structure
from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i
from hist2st_pyg.metrics.structure import gene_structure, spatial_structure, structure_of_halves


def square(side: int) -> NDArray[np.float64]:
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    return 50.0 * np.stack([column.ravel(), row.ravel()], axis=1)


def maps(rng: np.random.Generator, genes: int = 12, side: int = 10) -> NDArray[np.float64]:
    """Genes of three programmes [N, G], some noisier than others."""
    programmes = np.sin(square(side) @ rng.normal(size=(2, 3)) / 80)
    return programmes @ rng.normal(size=(3, genes)) + rng.uniform(0.1, 2, genes) * rng.normal(size=(side**2, genes))


def scipy_gsc(true: NDArray[Any], pred: NDArray[Any]) -> float:
    """Pair by pair; a constant prediction goes with nothing."""
    genes = [g for g in range(true.shape[1]) if np.ptp(true[:, g])]
    of_pairs = []
    for i, j in combinations(genes, 2):
        constant = not (np.ptp(pred[:, i]) and np.ptp(pred[:, j]))
        of_pairs.append((pearsonr(true[:, i], true[:, j])[0], 0.0 if constant else pearsonr(pred[:, i], pred[:, j])[0]))
    return float(pearsonr(*zip(*of_pairs, strict=True))[0])


@pytest.mark.parametrize("seed", range(5))
def test_gsc_is_scipy_s_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = maps(rng)
    pred = true + rng.normal(size=true.shape)
    assert gene_structure(true, pred) == pytest.approx(scipy_gsc(true, pred), abs=1e-12)
    true[:, 3], pred[:, 7] = 0.1, 0.1  # whose mean is rounded
    assert gene_structure(true, pred) == pytest.approx(scipy_gsc(true, pred), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ssc_is_the_correlation_of_moran_s_i(seed: int) -> None:
    rng, edges = np.random.default_rng(seed), adjacent_edges(square(10))
    true = maps(rng)
    pred = true + rng.normal(size=true.shape)
    first, second = morans_i(true, edges), morans_i(pred, edges)
    assert spatial_structure(first, second) == pytest.approx(pearsonr(first, second)[0], abs=1e-12)
    first[2], second[5] = np.nan, np.nan
    known = np.delete(np.arange(12), 2)
    assert spatial_structure(first, second) == pytest.approx(
        pearsonr(first[known], np.nan_to_num(second)[known])[0], abs=1e-12
    )


def test_structure_is_seen_where_the_pcc_sees_none_and_missing_where_it_sees_all() -> None:
    """Spots in another order keep every pair of genes; genes that swap places keep the tissue's patterns."""
    rng = np.random.default_rng(1)
    true = maps(rng)
    shuffled = true[rng.permutation(len(true))]
    assert gene_structure(true, shuffled) == pytest.approx(1)
    edges = adjacent_edges(square(10))
    assert morans_i(shuffled, edges).mean() < 0.2 < morans_i(true, edges).mean()
    # Every gene the same map: each has a good PCC here, and all go together.
    one = rng.normal(size=(100, 1))
    alike = one + 0.5 * rng.normal(size=(100, 6)) * np.array([1, 1, 1, 2, 2, 2])
    assert gene_structure(alike, np.repeat(one, 6, axis=1)) == 0
    # Neither an offset nor a gene's scale is structure.
    assert gene_structure(true, 3 + true * np.arange(1, 13)) == pytest.approx(1)


def test_what_has_no_structure() -> None:
    rng = np.random.default_rng(2)
    true = maps(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gene_structure(true, np.full(true.shape, 0.3)) == 0
        assert np.isnan(gene_structure(np.full(true.shape, 0.3), true))
        assert np.isnan(gene_structure(true[:, :2], true[:, :2]))  # one pair alone
        assert np.isnan(gene_structure(true[:, :0], true[:, :0]))
        assert spatial_structure([0.1, 0.2, 0.3], [np.nan] * 3) == 0
        assert np.isnan(spatial_structure([np.nan] * 3, [0.1, 0.2, 0.3]))
        assert np.isnan(spatial_structure([0.5], [0.5]))


def test_halves_agree_better_the_more_counts_there_are() -> None:
    """And each half is thinned with the genes outside the panel, so that a share stays a share."""
    rng, edges = np.random.default_rng(3), adjacent_edges(square(14))
    shares = np.exp(maps(rng, side=14))
    shares /= shares.sum(1, keepdims=True)
    found = {}
    for depth in (100, 3_000, 100_000):
        counts = rng.poisson(depth * shares)
        found[depth] = structure_of_halves(counts, counts.sum(1), edges, seed=4)
        assert found[depth] == structure_of_halves(counts, counts.sum(1), edges, seed=4)
    for of in zip(*found.values(), strict=True):
        assert list(of) == sorted(of)
        assert of[-1] > 0.97
    # A gene's halves are independent Poisson counts, also given the rest of the spot's molecules.
    flat = rng.poisson(50 * np.ones((196, 12)))
    assert abs(structure_of_halves(flat, flat.sum(1) + rng.poisson(5_000, 196), edges)[0]) < 0.3


def test_pairs_that_correlate_equally_but_for_rounding_have_no_structure() -> None:
    true = np.eye(7)[:, :5] * np.array([0.1, 0.3, 0.7, 1.1, 1.3]) + 0.1  # each pair by -1/6
    correlations = np.corrcoef(true - true[:1], rowvar=False)[np.triu_indices(5, 1)]
    assert 0 < np.ptp(correlations) < 1e-12
    assert np.isnan(gene_structure(true, maps(np.random.default_rng(0), 5)[:7]))


def test_each_molecule_is_in_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    halves: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def recorded(part: NDArray[Any], totals: NDArray[Any]) -> NDArray[Any]:
        halves.append((part, totals))
        return log_expression(part, totals)

    monkeypatch.setattr(structure, "log_expression", recorded)
    rng = np.random.default_rng(0)
    counts = rng.poisson(20, (36, 4))
    totals = counts.sum(1) + rng.poisson(300, 36)
    structure_of_halves(counts, totals, adjacent_edges(square(6)))
    (first, of_first), (second, of_second) = halves
    np.testing.assert_array_equal(first + second, counts)
    np.testing.assert_array_equal((of_first + of_second).ravel(), totals)
    assert (of_first != of_second).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gene_structure(np.ones((5, 3)), np.ones((5, 2))), r"must be \[N spots, G genes\], got shapes"),
        (lambda: gene_structure(np.eye(3), np.full((3, 3), np.nan)), "y_pred holds 9 values of 9 that are not finite"),
        (lambda: spatial_structure([0.1, 0.2], [0.1]), r"one value per gene, got shapes \[2\], \[1\]"),
        (lambda: spatial_structure([0.1, np.inf], [0.1, 0.2]), "not finite"),
    ],
)
def test_bad_input_is_explained(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_rows_and_genes_in_blocks_have_the_structure_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    true = maps(rng)
    pred = true + rng.normal(size=true.shape)
    true[:, 3], pred[:, 7] = 0.1, 0.1
    counts = rng.poisson(np.exp(true + 1))
    edges = adjacent_edges(square(10))
    whole, halves = gene_structure(true, pred), structure_of_halves(counts, counts.sum(1), edges)
    monkeypatch.setattr("hist2st_pyg.utils.rows.ROWS_AT_ONCE", 7)
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 500)
    assert gene_structure(true, pred) == pytest.approx(whole, abs=1e-12)
    # The halves are drawn in another order.
    assert structure_of_halves(counts, counts.sum(1), edges) == pytest.approx(halves, abs=0.1)
