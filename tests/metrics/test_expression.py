from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error

from hist2st_pyg import evaluation
from hist2st_pyg.evaluation import mae, pearson_per_gene, rmse, spearman_per_gene, summarize
from hist2st_pyg.metrics.expression import METRICS

FINITE = st.floats(-1e300, 1e300, allow_nan=False, allow_subnormal=True)
# Multiples of 1/8 of a moderate size: scaling and shifting them stays well conditioned.
MODERATE = st.integers(-800, 800).map(lambda n: n / 8)


def arrays(elements: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[NDArray[Any], NDArray[Any]]]:
    shapes = st.tuples(st.integers(2, 12), st.integers(1, 4))
    return shapes.flatmap(
        lambda shape: st.tuples(*(hnp.arrays(np.float64, shape, elements=elements) for _ in range(2)))
    )


@pytest.fixture
def expression() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    true = rng.gamma(2.0, 1.0, size=(60, 7))
    return true, 0.3 * true + rng.normal(size=true.shape)


def test_pearson_agrees_with_scipy(expression: Any) -> None:
    true, pred = expression
    expected = [pearsonr(true[:, g], pred[:, g]).statistic for g in range(true.shape[1])]
    np.testing.assert_allclose(pearson_per_gene(true, pred), expected, rtol=0, atol=1e-12)


def test_pearson_takes_float32_and_counts_and_computes_in_float64(expression: Any) -> None:
    counts = np.rint(10 * expression[0]).astype(np.int64)
    pred = (expression[1] + 1000).astype(np.float32)
    scores = pearson_per_gene(counts, pred)
    expected = [pearsonr(counts[:, g], pred[:, g].astype(np.float64)).statistic for g in range(counts.shape[1])]
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-10)


def test_constant_target_is_nan_and_constant_prediction_is_zero(expression: Any) -> None:
    true, pred = expression[0].copy(), expression[1].copy()
    true[:, 0] = 3.0
    pred[:, 1] = -2.0
    true[:, 2] = pred[:, 2] = 1.0
    scores = pearson_per_gene(true, pred)
    assert np.isnan(scores[[0, 2]]).all()
    assert scores[1] == 0
    assert np.isfinite(scores[3:]).all()
    assert (scores[3:] != 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 1e-3, 12345.678, -7.7e6])
def test_a_constant_whose_mean_is_rounded_is_constant(dtype: Any, value: float) -> None:
    constant = np.full((1001, 1), value, dtype=dtype)
    varying = np.arange(1001.0)[:, None]
    assert np.isnan(pearson_per_gene(constant, varying)[0])
    assert pearson_per_gene(varying, constant)[0] == 0


@pytest.mark.parametrize("step", [1e-300, 1e-9, 1e300])
def test_tiny_and_huge_variation_is_not_constant(step: float) -> None:
    true = step * np.arange(4.0)[:, None]
    pred = np.array([0.0, 2.0, 1.0, 3.0])[:, None]
    np.testing.assert_allclose(pearson_per_gene(true, pred), [0.8])


def test_variation_in_the_last_place_is_not_constant() -> None:
    true = np.full((5, 1), 1.0)
    true[2] = np.nextafter(1.0, 2.0)
    np.testing.assert_allclose(pearson_per_gene(true, np.eye(5)[:, [2]]), [1.0])


def test_genes_that_were_not_measured_are_nan_and_may_hold_anything(expression: Any) -> None:
    true, pred = expression[0].copy(), expression[1]
    mask = np.array([True, False, True, True, True, True, False])
    full = pearson_per_gene(true, pred)
    true[:, 1] = np.nan
    scores = pearson_per_gene(true, pred, mask=mask)
    np.testing.assert_array_equal(np.isnan(scores), ~mask)
    np.testing.assert_array_equal(scores[mask], full[mask])


@given(arrays(FINITE))
def test_pearson_is_bounded_and_nan_only_for_constant_targets(pair: tuple[NDArray[Any], NDArray[Any]]) -> None:
    true, pred = pair
    scores = pearson_per_gene(true, pred)
    constant = (true == true[:1]).all(axis=0)
    np.testing.assert_array_equal(np.isnan(scores), constant)
    assert (np.abs(scores[~constant]) <= 1).all()
    assert (scores[~constant & (pred == pred[:1]).all(axis=0)] == 0).all()


@given(arrays(MODERATE), st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(max_examples=60)
def test_pearson_ignores_scale_and_shift_and_keeps_the_sign(
    pair: tuple[NDArray[Any], NDArray[Any]], scale: float, shift: float
) -> None:
    true, pred = pair
    scores = pearson_per_gene(true, pred)
    np.testing.assert_allclose(pearson_per_gene(true, scale * pred), scores, atol=1e-9)
    np.testing.assert_allclose(pearson_per_gene(true, -pred), -scores, atol=1e-12)
    np.testing.assert_allclose(pearson_per_gene(true, pred + shift), scores, atol=1e-9)


@given(arrays(MODERATE))
@settings(max_examples=60)
def test_pearson_is_symmetric_where_both_vary(pair: tuple[NDArray[Any], NDArray[Any]]) -> None:
    true, pred = pair
    both = (np.ptp(true, axis=0) > 0) & (np.ptp(pred, axis=0) > 0)
    np.testing.assert_allclose(pearson_per_gene(true, pred)[both], pearson_per_gene(pred, true)[both], atol=1e-12)
    np.testing.assert_allclose(pearson_per_gene(true, true)[both], 1, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_agrees_with_scipy(expression: Any, ties: bool) -> None:
    true, pred = (np.rint(values) for values in expression) if ties else expression
    expected = [spearmanr(true[:, g], pred[:, g]).statistic for g in range(true.shape[1])]
    np.testing.assert_allclose(spearman_per_gene(true, pred), expected, rtol=0, atol=1e-12)


def test_spearman_leaves_out_and_scores_0_as_pearson_does(expression: Any) -> None:
    true, pred = expression[0].copy(), expression[1].copy()
    true[:, 0] = 0.1
    pred[:, 1] = -0.1
    true[:, 2] = np.nan
    scores = spearman_per_gene(true, pred, np.arange(7) != 2)
    np.testing.assert_array_equal(np.isnan(scores), np.isin(np.arange(7), [0, 2]))
    assert scores[1] == 0
    assert (scores[3:] > 0).all()


@given(arrays(MODERATE))
@settings(max_examples=60)
def test_spearman_sees_only_the_order(pair: tuple[NDArray[Any], NDArray[Any]]) -> None:
    true, pred = pair
    np.testing.assert_array_equal(spearman_per_gene(true, pred), spearman_per_gene(true**3, pred))
    np.testing.assert_array_equal(spearman_per_gene(true, pred), spearman_per_gene(true, np.exp(pred / 100)))


def test_errors_agree_with_scikit_learn(expression: Any) -> None:
    true, pred = expression
    assert rmse(true, pred) == pytest.approx(mean_squared_error(true, pred) ** 0.5)
    assert mae(true, pred) == pytest.approx(mean_absolute_error(true, pred))
    mask = np.arange(7) < 3
    assert rmse(true, pred, mask) == pytest.approx(mean_squared_error(true[:, :3], pred[:, :3]) ** 0.5)
    assert mae(true, pred, mask) == pytest.approx(mean_absolute_error(true[:, :3], pred[:, :3]))


def test_errors_without_a_measured_gene_are_nan(expression: Any) -> None:
    true, pred = expression
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(rmse(true, pred, mask=np.zeros(7, dtype=bool)))
        assert np.isnan(mae(true, pred, mask=np.zeros(7, dtype=bool)))


def test_summarize_counts_every_gene_once() -> None:
    #                 scored, constant prediction, constant target, both masked and constant, masked
    true = np.array([[0.0, 0.0, 5.0, 5.0, 0.0], [1.0, 1.0, 5.0, 5.0, 1.0], [2.0, 3.0, 5.0, 5.0, 2.0]])
    pred = np.array([[0.0, 1.0, 0.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 5.0, 5.0, 2.0]])
    mask = np.array([True, True, True, False, False])
    summary = summarize(true, pred, ["A", "B", "C", "D", "E"], mask)
    errors = np.array([0, 0, 0, 1, 0, 2, 5, 4, 0], dtype=float)
    assert summary.keys() >= METRICS.keys()
    others = METRICS.keys() - {"pcc_mean", "pcc_median", "pcc_mean_detected", "spearman_mean", "rmse", "mae"}
    assert {name: value for name, value in summary.items() if name not in others} == {
        "pcc_mean": pytest.approx(0.5),
        "pcc_median": pytest.approx(0.5),
        "pcc_mean_detected": pytest.approx(0.5),
        "spearman_mean": pytest.approx(0.5),
        "rmse": pytest.approx(np.sqrt((errors**2).mean())),
        "mae": pytest.approx(errors.mean()),
        "n_genes": 5,
        "n_scored": 2,
        "n_detected": 2,
        "n_constant": 1,
        "n_constant_predictions": 1,
        "n_missing": 2,
        "n_spots": 3,
        "per_gene": {"A": pytest.approx(1.0), "B": 0.0, "C": None, "D": None, "E": None},
    }


def test_genes_that_few_spots_have_are_not_detected() -> None:
    true = np.zeros((20, 4))
    true[:2, 0], true[:1, 1], true[:, 2], true[:, 3] = 1, 1, 1, np.arange(20)  # 10 % of the spots, 5 %, constant, all
    pred = np.random.default_rng(0).normal(size=true.shape)
    summary = summarize(true, pred, ["A", "B", "C", "D"])
    assert (summary["n_scored"], summary["n_detected"]) == (3, 2)
    assert summary["pcc_mean_detected"] == pytest.approx((summary["per_gene"]["A"] + summary["per_gene"]["D"]) / 2)
    rare = summarize(true[:, [1]], pred[:, [1]], ["B"])
    assert rare["pcc_mean"] is not None
    assert (rare["pcc_mean_detected"], rare["n_detected"]) == (None, 0)


@pytest.mark.parametrize(("mask", "error"), [(None, 0.5), (np.zeros(2, dtype=bool), None)])
def test_summarize_without_a_scored_gene_says_none_and_warns_of_nothing(mask: Any, error: float | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        summary = summarize(np.ones((3, 2)), np.full((3, 2), 1.5), ["A", "B"], mask)
    for name in ("pcc_mean", "pcc_median", "pcc_mean_detected", "spearman_mean"):
        assert summary[name] is None
    assert summary["rmse"] == summary["mae"] == error
    assert summary["n_scored"] == summary["n_detected"] == summary["n_constant_predictions"] == 0
    assert summary["per_gene"] == {"A": None, "B": None}


@pytest.mark.parametrize(
    "function", [pearson_per_gene, spearman_per_gene, rmse, mae, lambda t, p: summarize(t, p, ["A", "B"])]
)
def test_bad_input_is_explained(function: Any) -> None:
    good = np.arange(8.0).reshape(4, 2)
    with pytest.raises(ValueError, match=r"shapes \[4, 2\] and \[3, 2\]"):
        function(good, good[:3])
    with pytest.raises(ValueError, match=r"shapes \[4\] and \[4\]"):
        function(good[:, 0], good[:, 0])
    with pytest.raises(ValueError, match="hold no spots"):
        function(good[:0], good[:0])
    wrong = good.copy()
    wrong[0, 0], wrong[2, 1], wrong[3, 1] = np.nan, np.inf, -np.inf
    with pytest.raises(ValueError, match="y_pred holds 3 values of 8 that are not finite"):
        function(good, wrong)
    with pytest.raises(ValueError, match="y_true holds 3 values of 8 that are not finite"):
        function(wrong, good)


@pytest.mark.parametrize("function", [pearson_per_gene, spearman_per_gene])
def test_a_correlation_needs_two_spots(function: Any) -> None:
    with pytest.raises(ValueError, match="at least 2 spots, got 1"):
        function(np.ones((1, 3)), np.ones((1, 3)))


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones((4, 2), dtype=bool), np.ones(2)])
def test_a_mask_of_the_wrong_kind_is_refused(mask: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"mask must be bool \[2\]"):
        pearson_per_gene(np.ones((4, 2)), np.ones((4, 2)), mask)


@pytest.mark.parametrize(("genes", "message"), [(["A"], "2 columns .* got 1"), (["A", "A"], "'A' more than once")])
def test_summarize_checks_the_gene_names(genes: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize(np.ones((4, 2)), np.ones((4, 2)), genes)


def test_the_room_names_what_it_offers() -> None:
    assert set(evaluation.__all__) >= {
        "mae", "noise_ceiling", "pearson_per_gene", "rmse", "spearman_per_gene", "summarize",
    }  # fmt: skip
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)


def test_metrics_do_not_load_matplotlib() -> None:
    # A fresh interpreter, because other tests load it; the package root is stubbed.
    code = (
        "import sys, types, pathlib; root = types.ModuleType('hist2st_pyg'); "
        f"root.__path__ = [{str(next(iter(evaluation.__path__))).removesuffix('evaluation')!r}]; "
        "sys.modules['hist2st_pyg'] = root; import hist2st_pyg.evaluation; "
        "print([m for m in ('matplotlib',) if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_block_of_genes_at_a_time_scores_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    true, pred = rng.normal(size=(2, 40, 11)).astype(np.float32)
    true[:, 3], mask = 0.1, rng.random(11) > 0.2
    genes = [f"GENE{i}" for i in range(11)]
    whole = summarize(true, pred, genes, mask)
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 2 * 40)
    parts = summarize(true, pred, genes, mask)
    assert parts.pop("per_gene") == pytest.approx(whole.pop("per_gene"), abs=1e-14)
    assert parts == pytest.approx(whole, abs=1e-14)


def test_no_copy_of_all_genes_in_double_precision_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    true = np.random.default_rng(0).normal(size=(2000, 100)).astype(np.float32)
    genes = [f"GENE{i}" for i in range(100)]
    summarize(true, true, genes)  # loads what it needs
    monkeypatch.setattr("hist2st_pyg.utils.rows.VALUES_AT_ONCE", 2000)
    tracemalloc.start()
    try:
        summarize(true, true, genes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < true.nbytes
