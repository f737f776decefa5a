from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.made_prediction import made_prediction
from anndata import AnnData
from scipy.stats import rankdata

from hist2st_pyg import Hist2ST, Preprocessing, Section, evaluate, predict_section
from hist2st_pyg.analysis.confidence import check_confidence, draw_confidence, likelihood_of, spot_confidence
from hist2st_pyg.metrics.calibration import coverage


@pytest.fixture
def adata() -> AnnData:
    return made_prediction()[0]


def test_confidence_is_one_minus_the_mean_rank(adata: AnnData) -> None:
    table = spot_confidence(adata)
    variation = adata.layers["sd"] / adata.layers["mean"]
    expected = 1 - np.stack([(rankdata(gene) - 1) / 63 for gene in variation.T]).mean(0)
    np.testing.assert_allclose(table["confidence"], expected)
    np.testing.assert_allclose(table["cv"], np.median(variation, axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["zero_probability"], adata.layers["zero_probability"].mean(1), rtol=1e-6)
    assert (table["excess_cv"] < table["cv"]).all()
    assert list(table.index) == list(adata.obs_names)


def test_a_spot_of_wider_counts_is_less_sure_whatever_the_genes_levels(adata: AnnData) -> None:
    adata.layers["mean"] = np.tile(np.geomspace(0.01, 1000, 24), (64, 1))
    adata.layers["sd"] = np.sqrt(adata.layers["mean"])  # Poisson
    adata.layers["sd"][7] *= 1.5
    adata.layers["sd"][9] *= 1.001
    del adata.layers["zero_probability"]
    table = spot_confidence(adata)
    assert list(table.columns) == ["confidence", "cv", "excess_cv"]
    assert list(table["confidence"].sort_values().index[:2]) == [adata.obs_names[7], adata.obs_names[9]]
    assert table["confidence"].iloc[7] == 0
    assert table["confidence"].iloc[0] == pytest.approx(1 - 30.5 / 63)  # as sure as 61 others
    assert table["excess_cv"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert table["excess_cv"].iloc[7] > 0.3


def test_the_likelihood_is_found_again_from_its_moments(adata: AnnData) -> None:
    measured = made_prediction()[1]
    truth = measured.uns["parameters"]
    for name, values in likelihood_of(adata).items():
        np.testing.assert_allclose(values, np.broadcast_to(truth[name], values.shape), rtol=5e-3, atol=2e-3)
    del adata.layers["zero_probability"]
    out = likelihood_of(adata)
    assert (out["dropout"] == 0).all()
    mean, dispersion = out["mean"], out["dispersion"]
    np.testing.assert_allclose(mean, adata.layers["mean"], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(mean + mean**2 / dispersion), adata.layers["sd"], rtol=1e-5)


def test_counts_that_vary_as_poisson_s(adata: AnnData) -> None:
    adata.layers["sd"] = np.sqrt(adata.layers["mean"]) * (1 - 1e-7)
    adata.layers["zero_probability"] = np.exp(-adata.layers["mean"])
    out = likelihood_of(adata)
    assert (out["dispersion"] >= 1e7).all()
    np.testing.assert_allclose(out["dropout"], 0, atol=1e-12)


def test_counts_of_the_prediction_s_own_distribution_are_covered(adata: AnnData) -> None:
    measured = made_prediction()[1]
    result = check_confidence(adata, measured)
    counts = np.asarray(measured.X)
    size_factor = counts.sum(1) / np.median(counts.sum(1))
    truth = {name: np.broadcast_to(value, (64, 24)) for name, value in measured.uns["parameters"].items()}
    expected = coverage(truth, counts, size_factor)
    assert result["coverage_50"] == pytest.approx(expected[0.5], abs=1e-3)
    assert result["coverage_90"] == pytest.approx(expected[0.9], abs=1e-3)
    assert result["coverage_90"] > 0.85
    both = (result["coverage_90_more_sure"] + result["coverage_90_less_sure"]) / 2
    assert both == pytest.approx(result["coverage_90"])


def test_spots_that_are_wrongly_sure_are_found_out(adata: AnnData) -> None:
    measured = made_prediction()[1]
    good = check_confidence(adata, measured, levels=(0.9,))
    less = spot_confidence(adata)["confidence"].to_numpy()
    sure = less > np.median(less)
    adata.layers["sd"][sure] = np.sqrt(adata.layers["mean"][sure]) * 1.001
    del adata.layers["zero_probability"]
    result = check_confidence(adata, measured, levels=(0.9,))
    assert set(result) == {"coverage_90", "coverage_90_more_sure", "coverage_90_less_sure"}
    assert result["coverage_90_more_sure"] < good["coverage_90_more_sure"] - 0.1
    assert result["coverage_90_less_sure"] > 0.8


@pytest.mark.parametrize("likelihood", ["zinb", "nb"])
def test_coverage_from_the_file_is_that_of_the_model(cohort: list[Section], likelihood: str) -> None:
    torch.manual_seed(0)
    model = Hist2ST(
        6, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="none", likelihood=likelihood,
    )  # fmt: skip
    model.preprocessing = Preprocessing(tuple(f"GENE{i + 1}" for i in range(6)), patch_size=28)
    section = cohort[0]
    found = check_confidence(predict_section(model.eval(), section), section)
    expected = evaluate(model, [section])
    if likelihood == "zinb":
        assert found["coverage_50"] == pytest.approx(expected["coverage_50"], abs=1e-4)
        assert found["coverage_90"] == pytest.approx(expected["coverage_90"], abs=1e-4)
    else:  # the paper's negative binomial knows no size factor, which a file does not say
        assert 0 <= found["coverage_90"] <= 1


def test_a_prediction_without_likelihood(adata: AnnData) -> None:
    del adata.layers["sd"]
    with pytest.raises(ValueError, match="no layer 'sd', which needs a model with a likelihood"):
        spot_confidence(adata)
    with pytest.raises(ValueError, match="no layer 'sd'"):
        check_confidence(adata, made_prediction()[1])


def test_a_gene_that_is_certainly_absent_is_as_unsure_as_counts_can_be(adata: AnnData) -> None:
    for layer, value in (("mean", 0), ("sd", 0), ("zero_probability", 1)):
        adata.layers[layer][5] = value
    table = spot_confidence(adata)
    assert np.isfinite(table).all(axis=None)
    assert table["confidence"].iloc[5] == 0
    out = likelihood_of(adata)
    assert all(np.isfinite(values).all() for values in out.values())
    of_spot = {name: values[5:6] for name, values in out.items()}
    assert coverage(of_spot, np.zeros((1, 24)), np.ones(1))[0.5] == pytest.approx(0.5)


def test_layers_that_cannot_be(adata: AnnData) -> None:
    with pytest.raises(ValueError, match="Confidence ranks spots against each other, but"):
        spot_confidence(adata[:1])
    adata.layers["mean"][3, 4] = np.nan
    with pytest.raises(ValueError, match="must be finite and not negative"):
        likelihood_of(adata)


def test_a_section_without_counts(adata: AnnData) -> None:
    measured = made_prediction()[1]
    measured.X = np.zeros(measured.shape)
    with pytest.raises(ValueError, match="The median spot has no counts"):
        check_confidence(adata, measured)


def test_maps_are_drawn(adata: AnnData, tmp_path: Path, drawn: Callable[[str], dict[str, Any]]) -> None:
    seen = drawn("expression_maps")
    assert draw_confidence(adata, tmp_path).name == "made_confidence.png"
    assert len(seen["values"]) == 4
    np.testing.assert_array_equal(seen["values"]["confidence"], spot_confidence(adata)["confidence"])
    assert seen["image"].shape == (90, 90, 3)
    assert set(seen["unit"]) == set(seen["values"])
    assert all(seen["unit"].values())
    assert seen["title"] == f"made: the model's confidence in its prediction, over {adata.n_vars} genes"
