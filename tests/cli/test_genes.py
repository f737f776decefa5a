"""``hist2st genes``."""

from __future__ import annotations

from pathlib import Path

import anndata
import pandas as pd
import pytest

from hist2st_pyg.analysis.genes import spatial_genes
from hist2st_pyg.cli import main
from hist2st_pyg.inference import write_h5ad

pytestmark = pytest.mark.usefixtures("prediction")


def test_genes(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["genes", "made.h5ad", "-o", "tables/genes.csv", "--figures", "pictures"]
    assert main([*arguments, "--regions", "tissue"]) == 0
    out = capsys.readouterr().out
    table = pd.read_csv("tables/genes.csv", index_col="gene")
    expected = spatial_genes(prediction).uns["moranI"].rename_axis("gene").rename(columns={"I": "I_of_prediction"})
    pd.testing.assert_frame_equal(table, expected, check_exact=False)
    assert out.startswith(
        "made.h5ad is a prediction, so its 24 genes are ranked without p-values.\nHighest Moran's I: "
    )
    assert f"Moran's I: {table.index[0]} " in out
    assert "FDR" not in out
    markers = pd.read_csv("tables/genes_markers.csv")
    assert list(markers.columns) == ["group", "names", "scores", "logfoldchanges"]
    assert set(markers["group"]) == {"fat", "stroma", "tumor"}
    best = markers[markers["group"] == "fat"]["names"][:5]
    assert f"Markers of tissue fat: {', '.join(best)}." in out
    assert {path.name for path in Path("pictures").iterdir()} == {"made_spatial_genes.png", "made_markers.png"}
    capsys.readouterr()
    assert main(["genes", "made.h5ad"]) == 0
    assert "Markers" not in capsys.readouterr().out


def test_genes_of_measured_expression_are_tested(
    prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]
) -> None:
    del prediction.uns["hist2st"]
    write_h5ad(prediction, "measured.h5ad")
    assert main(["genes", "measured.h5ad", "-o", "genes.csv", "--regions", "tissue"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("24 of 24 genes follow the tissue (FDR 5 %).\nHighest Moran's I: ")
    assert "prediction" not in out
    assert list(pd.read_csv("genes.csv").columns) == ["gene", "I", "pval_norm", "var_norm", "pval_norm_fdr_bh"]
    assert {"pvals", "pvals_adj"} <= set(pd.read_csv("genes_markers.csv"))


def test_regions_alone_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["genes", "made.h5ad", "--regions"]) == 2
    assert "no column obs['region']; it has array_col" in capsys.readouterr().err
    assert main(["regions", "made.h5ad", "--method", "kmeans", "--n_regions", "3", "-o", "out.h5ad"]) == 0
    assert main(["genes", "out.h5ad", "--regions"]) == 0
    assert "Markers of region 0: GENE" in capsys.readouterr().out
