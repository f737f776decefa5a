from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import squidpy as sq
from _helpers.made_prediction import made_prediction
from anndata import AnnData
from scipy.stats import false_discovery_control, mannwhitneyu

from hist2st_pyg.analysis.genes import (
    FDR,
    MORAN,
    check_regions,
    draw_genes,
    draw_markers,
    marker_table,
    rank_markers,
    spatial_genes,
    top_markers,
    top_spatial,
)


@pytest.fixture
def prediction() -> AnnData:
    return made_prediction()[0]


@pytest.fixture
def adata(prediction: AnnData) -> AnnData:
    """The same expression as if it had been measured: nothing says that a model predicted it."""
    del prediction.uns["hist2st"]
    return prediction


@pytest.fixture
def noisy(adata: AnnData) -> AnnData:
    """Some genes follow the tissue, some not, some are against their neighbors; a spot stands alone."""
    rng = np.random.default_rng(0)
    adata.X[:, 8:] = rng.normal(size=(64, 16))
    adata.X[:, 20] = adata.obs["array_col"] % 2 + 0.2 * rng.normal(size=64)
    adata.obsm["spatial"][63] += 1000
    return adata


@pytest.mark.parametrize("layer", [None, "mean"])
def test_moran_s_i_is_squidpy_s(noisy: AnnData, layer: str | None) -> None:
    found = spatial_genes(noisy, layer)
    expected = sq.gr.spatial_autocorr(found, mode="moran", layer=layer, copy=True, n_jobs=1, show_progress_bar=False)
    table = found.uns[MORAN]
    assert list(table.columns) == list(expected.columns) == ["I", "pval_norm", "var_norm", "pval_norm_fdr_bh"]
    pd.testing.assert_frame_equal(table, expected.loc[table.index], check_exact=False, rtol=1e-4, atol=1e-12)
    assert table["I"].is_monotonic_decreasing
    if layer is None:
        assert table["I"].min() < -0.35
    assert MORAN not in noisy.uns


def test_the_table_is_written_and_read_where_squidpy_has_it(noisy: AnnData) -> None:
    import anndata

    found = spatial_genes(noisy)
    found.write_h5ad("genes.h5ad")
    pd.testing.assert_frame_equal(anndata.read_h5ad("genes.h5ad").uns["moranI"], found.uns["moranI"])


def test_a_constant_gene_has_no_score_and_does_not_count(noisy: AnnData) -> None:
    noisy.X[:, 5] = 1.5
    table = spatial_genes(noisy).uns[MORAN]
    assert table.index[-1] == "GENE5"
    assert table.loc["GENE5", ["I", "pval_norm", FDR]].isna().all()
    without = spatial_genes(noisy[:, [gene for gene in noisy.var_names if gene != "GENE5"]]).uns[MORAN]
    pd.testing.assert_frame_equal(table.iloc[:-1], without)


def test_the_highest_are_those_that_follow_the_tissue(noisy: AnnData) -> None:
    found = spatial_genes(noisy)
    best = top_spatial(found, n=50)
    assert set(best[:8]) == {f"GENE{i}" for i in range(8)}
    assert "GENE20" not in best  # far from random, but the other way
    assert found.uns[MORAN].loc["GENE20", FDR] < 0.05
    assert top_spatial(found, n=3) == best[:3]
    assert len(top_spatial(found, fdr=1e-300)) == 0


def test_too_few_spots_and_spots_at_one_place(adata: AnnData) -> None:
    with pytest.raises(ValueError, match="at least 3 spots, got 2"):
        spatial_genes(adata[:2])
    adata.obsm["spatial"][:40] = 0
    with pytest.raises(ValueError, match="More than half of the spots share their position"):
        spatial_genes(adata)


def test_markers_are_wilcoxon_s(adata: AnnData) -> None:
    ranked = rank_markers(adata, "tissue")
    table = marker_table(ranked)
    assert list(table.columns) == ["group", "names", "scores", "logfoldchanges", "pvals", "pvals_adj"]
    fat = table[table["group"] == "fat"].set_index("names").loc[list(adata.var_names)]
    inside = (adata.obs["tissue"] == "fat").to_numpy()
    expected = mannwhitneyu(adata.X[inside], adata.X[~inside], method="asymptotic", use_continuity=False).pvalue
    np.testing.assert_allclose(fat["pvals"], expected, rtol=1e-3)
    np.testing.assert_allclose(fat["pvals_adj"], false_discovery_control(expected), rtol=1e-3)
    # The logarithm's base is 10, which scanpy has to be told.
    ratio = (10 ** adata.X[inside].mean(0) - 1) / (10 ** adata.X[~inside].mean(0) - 1)
    np.testing.assert_allclose(fat["logfoldchanges"], np.log2(ratio), rtol=1e-3)
    best = top_markers(table, 8)
    assert list(best) == ["fat", "stroma", "tumor"]
    for tissue, first in (("tumor", 0), ("stroma", 8), ("fat", 16)):
        assert set(best[tissue]) == {f"GENE{first + i}" for i in range(8)}
    assert top_markers(table, 8, fdr=0) == {"fat": [], "stroma": [], "tumor": []}
    assert "rank_genes_groups" not in adata.uns


def test_a_region_of_one_spot_has_no_markers(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    adata.obs["tissue"] = adata.obs["tissue"].astype("category").cat.add_categories(["nerve", "unused"])
    adata.obs.loc["0x0", "tissue"] = "nerve"
    with caplog.at_level(logging.WARNING):
        table = marker_table(rank_markers(adata, "tissue"))
    assert set(table["group"]) == {"fat", "stroma", "tumor"}
    assert "tissue nerve: skipped, because a region of one spot has no markers" in caplog.text


def test_regions_that_are_numbers(adata: AnnData) -> None:
    adata.obs["region"] = pd.Categorical(adata.obs["array_col"] // 4)
    assert set(marker_table(rank_markers(adata))["group"]) == {"0", "1"}


def test_a_negative_mean_has_no_fold_change(adata: AnnData, recwarn: pytest.WarningsRecorder) -> None:
    adata.X[:, 0] = np.where(adata.obs["tissue"] == "fat", 0.5, -0.01)
    table = marker_table(rank_markers(adata, "tissue"))
    of_fat = table[(table["group"] == "fat") & (table["names"] == "GENE0")]
    assert of_fat["logfoldchanges"].isna().all()
    assert of_fat["scores"].item() > 0
    assert not [warning for warning in recwarn if "log2" in str(warning.message)]


@pytest.mark.parametrize("layer", [None, "mean"])
def test_genes_of_a_prediction_are_ranked_and_not_tested(noisy: AnnData, layer: str | None) -> None:
    measured = spatial_genes(noisy, layer)
    noisy.uns["hist2st"] = {"normalize_by": "panel"}
    noisy.uns[MORAN] = measured.uns[MORAN]  # of an earlier version's file
    found = spatial_genes(noisy, layer)
    pd.testing.assert_frame_equal(found.uns[MORAN], measured.uns[MORAN][["I"]])
    best = top_spatial(found, n=24, fdr=0)
    assert best == [gene for gene in measured.uns[MORAN].index if measured.uns[MORAN]["I"][gene] > -1 / 63]
    assert top_spatial(measured, n=24, fdr=0) == []


def test_markers_of_a_prediction_are_ranked_and_not_tested(prediction: AnnData, tmp_path: Path) -> None:
    ranked = rank_markers(prediction, "tissue")
    table = marker_table(ranked)
    measured = ranked.copy()
    del measured.uns["hist2st"]
    tested = marker_table(measured)
    assert list(table.columns) == ["group", "names", "scores", "logfoldchanges"]
    pd.testing.assert_frame_equal(table, tested[table.columns])
    assert top_markers(table, 24, fdr=0)["fat"] == list(tested.query("group == 'fat' and scores > 0")["names"])
    prediction.obs["one"] = "a"
    prediction.obs.loc[prediction.obs_names[:2], "one"] = "b"
    prediction.X[:] = 1
    with pytest.raises(ValueError, match=r"No gene is a marker of a region of obs\['one'\]\.$"):
        draw_markers(rank_markers(prediction, "one"), tmp_path, "one")


def test_pictures_of_a_prediction_say_so(
    prediction: AnnData, tmp_path: Path, drawn: Callable[[str], dict[str, Any]]
) -> None:
    seen, heat = drawn("expression_maps"), drawn("heat_map")
    for adata, of, note in (
        (prediction, "predicted expression: a ranking, not a test", ", ranked in the prediction"),
        (None, "measured expression", ""),
    ):
        if adata is None:
            adata = prediction
            del adata.uns["hist2st"]
        draw_genes(spatial_genes(adata), tmp_path)
        assert all("  (I = " in name for name in seen["values"])
        first, second = seen["title"].splitlines()
        assert first == (
            f"made: the {len(seen['values'])} of {adata.n_vars} genes with the highest Moran's I, without similar maps"
        )
        assert second == f"Moran's I of {of}"
        draw_markers(rank_markers(adata, "tissue"), tmp_path, "tissue")
        assert heat["title"] == f"made: markers{note}"


def test_no_such_regions(adata: AnnData) -> None:
    with pytest.raises(ValueError, match=r"no column obs\['region'\]; it has array_col, .*`hist2st regions PRED"):
        check_regions(adata, "region")
    with pytest.raises(ValueError, match=r"no column obs\['region'\]"):
        rank_markers(adata)
    adata.obs["region"] = ["0"] * 63 + ["1"]
    with pytest.raises(ValueError, match="two regions of at least 2 spots"):
        rank_markers(adata)


def test_maps_that_look_alike_are_drawn_once(
    noisy: AnnData, tmp_path: Path, drawn: Callable[[str], dict[str, Any]]
) -> None:
    seen = drawn("expression_maps")
    found = spatial_genes(noisy)
    first = found.uns[MORAN].index[0]
    found.X[:, 15] = -np.asarray(found[:, first].X)[:, 0]
    found = spatial_genes(found)
    assert draw_genes(found, tmp_path, n=4).name == "made_spatial_genes.png"
    table = found.uns[MORAN]
    assert len(seen["values"]) == 4
    scores = [float(title.split("I = ")[1].rstrip(")")) for title in seen["values"]]
    assert scores[0] == pytest.approx(table["I"].iloc[0], abs=0.005)
    assert scores == sorted(scores, reverse=True)
    assert len({title.split()[0] for title in seen["values"]} & {first, "GENE15"}) == 1
    alike = np.corrcoef(np.stack(list(seen["values"].values())))
    assert np.abs(alike[~np.eye(4, dtype=bool)]).max() < 0.9


def test_markers_are_drawn(adata: AnnData, tmp_path: Path, drawn: Callable[[str], dict[str, Any]]) -> None:
    seen = drawn("heat_map")
    ranked = rank_markers(adata, "tissue")
    assert draw_markers(ranked, tmp_path, "tissue", n=2).name == "made_markers.png"
    assert seen["table"].shape == (6, 3)
    assert list(seen["table"].columns) == ["fat", "stroma", "tumor"]
    gene = seen["table"].index[0]
    values = adata[:, gene].X[:, 0]
    expected = (values[adata.obs["tissue"] == "fat"].mean() - values.mean()) / values.std()
    assert seen["table"].loc[gene, "fat"] == pytest.approx(expected, rel=1e-4)
    rng = np.random.default_rng(0)
    adata.X = rng.normal(size=adata.shape)
    with pytest.raises(ValueError, match=r"No gene is a marker of a region of obs\['tissue'\]"):
        draw_markers(rank_markers(adata, "tissue"), tmp_path, "tissue")
