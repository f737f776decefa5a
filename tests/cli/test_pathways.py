"""``hist2st pathways``."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from _helpers.made_prediction import SETS, made_prediction

from hist2st_pyg.analysis.pathways import score_agreement, score_gene_sets
from hist2st_pyg.cli import main

pytestmark = pytest.mark.usefixtures("prediction")


def test_pathways(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "-o", "sets.csv", "--figures", "pictures"]
    assert main([*arguments, "--measured", "counts.h5ad", "--enrich", "tissue", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "2 of 3 gene sets have 5 genes in the panel of 24." in out
    expected = score_agreement(prediction, made_prediction()[1], SETS, seed=3)[0]
    assert f"mean PCC {expected['pearson'].mean():.3f} over 64 spots" in out
    table = pd.read_csv("sets.csv", index_col="gene_set")
    assert list(table.columns) == ["genes", "in_panel", "moran", "pearson", "spearman"]
    assert list(table["in_panel"]) == [6, 7]
    np.testing.assert_allclose(table["pearson"], expected["pearson"])
    scores = pd.read_csv("sets_scores.csv", index_col="spot")
    np.testing.assert_allclose(scores, score_gene_sets(prediction, SETS, seed=3))
    enriched = pd.read_csv("sets_enrichment.csv")
    assert enriched.set_index(["Group", "Term"]).loc[("tumor", "TUMOR"), "Overlap"] == "6/6"
    assert {path.name for path in Path("pictures").iterdir()} == {"made_gene_sets.png", "made_enrichment.png"}


def test_pathways_of_the_highest_moran_s_i(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "--enrich", "moran", "-o", "sets.csv"]) == 0
    out = capsys.readouterr().out
    assert "50 genes of the highest I" in out
    assert "made.h5ad is a prediction: the p-values compare lists of genes, not measured expression." in out
    assert list(pd.read_csv("sets.csv").columns) == ["gene_set", "genes", "in_panel", "moran"]
    assert not Path("pictures").exists()
