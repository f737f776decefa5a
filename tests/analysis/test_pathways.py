from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from _helpers.made_prediction import made_prediction
from anndata import AnnData
from scipy.stats import false_discovery_control, fisher_exact, pearsonr, spearmanr

from hist2st_pyg.analysis.pathways import (
    draw_enrichment,
    draw_scores,
    enrich,
    score_agreement,
    score_gene_sets,
)

SETS = {
    "TUMOR": [f"GENE{i}" for i in range(6)] + ["ABSENT"],
    "STROMA": [f"GENE{i}" for i in range(8, 15)],
    "MIXED": ["GENE1", "GENE9", "GENE17", "GENE20", "GENE4"],
    "SMALL": ["GENE1", "GENE2"],
}


@pytest.fixture
def adata() -> AnnData:
    return made_prediction()[0]


def test_scores_are_scanpy_s(adata: AnnData) -> None:
    scores = score_gene_sets(adata, SETS, seed=4)
    assert list(scores.columns) == ["TUMOR", "STROMA", "MIXED"]
    assert list(scores.index) == list(adata.obs_names)
    sc.tl.score_genes(adata, SETS["TUMOR"][:6], score_name="theirs", n_bins=2, random_state=4)
    np.testing.assert_allclose(scores["TUMOR"], adata.obs["theirs"])
    means = scores.groupby(made_prediction()[0].obs["tissue"].to_numpy()).mean()
    assert means["TUMOR"].idxmax() == "tumor"
    assert means["STROMA"].idxmax() == "stroma"


def test_a_large_panel_has_scanpy_s_own_bins() -> None:
    rng = np.random.default_rng(0)
    genes = pd.DataFrame(index=[f"G{i}" for i in range(600)])
    adata = AnnData(rng.gamma(rng.gamma(1, 1, 600), size=(30, 600)), var=genes)
    members = [f"G{i}" for i in range(0, 600, 40)]
    scores = score_gene_sets(adata, {"A": members}, seed=1)
    sc.tl.score_genes(adata, members, score_name="theirs", random_state=1)
    np.testing.assert_allclose(scores["A"], adata.obs["theirs"])


def test_the_seed_decides_and_numpy_s_generator_is_left_alone() -> None:
    sets = {"TUMOR": SETS["TUMOR"]}
    large = AnnData(np.random.default_rng(0).gamma(1, size=(10, 1500)))  # more genes than controls in each bin
    large.var_names = [f"GENE{i}" for i in range(1500)]
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr, index]  # noqa: NPY002
    first, again, other = (score_gene_sets(large, sets, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]  # noqa: NPY002


def test_a_set_that_is_the_panel(adata: AnnData) -> None:
    with pytest.raises(ValueError, match="'ALL' has 24 of the panel's 24 genes, so no control genes"):
        score_gene_sets(adata, {"ALL": list(adata.var_names)})
    with pytest.raises(ValueError, match="None of 1 gene sets has 5 genes"):
        score_gene_sets(adata, {"SMALL": SETS["SMALL"]})


def test_enrichment_is_fisher_s_test(adata: AnnData) -> None:
    panel = [str(gene) for gene in adata.var_names]
    lists = {"b": ["GENE0", "GENE1", "GENE2", "GENE9"], "a": ["GENE8", "GENE10"], "none": ["GENE23"], "empty": []}
    table = enrich(lists, SETS, panel)
    assert list(table.columns) == [
        "Group", "Term", "Overlap", "P-value", "Adjusted P-value", "Odds Ratio", "Combined Score", "Genes",
    ]  # fmt: skip
    rows = {(row["Group"], row["Term"]): row for _, row in table.iterrows()}
    assert list(rows) == [("b", "TUMOR"), ("b", "MIXED"), ("b", "STROMA"), ("a", "STROMA")]
    expected, tests = [], []
    for group, genes in lists.items():
        for term in ("TUMOR", "STROMA", "MIXED"):
            members = set(SETS[term]) & set(panel)
            shared = members & set(genes)
            cells = [
                [len(shared), len(members - shared)],
                [len(set(genes) - members), len(set(panel) - members - set(genes))],
            ]
            p = fisher_exact(cells, alternative="greater").pvalue
            tests.append(p if shared else 1.0)
            if shared:
                assert rows[group, term]["P-value"] == pytest.approx(p)
                assert rows[group, term]["Overlap"] == f"{len(shared)}/{len(members)}"
                assert rows[group, term]["Genes"] == ";".join(sorted(shared))
                expected.append(((group, term), len(tests) - 1))
    adjusted = false_discovery_control(tests)  # over all lists and sets
    for key, place in expected:
        assert rows[key]["Adjusted P-value"] == pytest.approx(adjusted[place])


def test_enrichment_reads_names_as_they_are() -> None:
    """gseapy turns genes into capitals where all sets are; a mouse's genes stay as they are."""
    panel = ["Vim", "Fn1", "Cdh1", "MT1", "Cdh2", "Krt8"]
    table = enrich({"x": ["Vim", "Fn1"]}, {"EMT": ["Vim", "Fn1"], "MIXED": ["Cdh1", "Krt8"]}, panel, min_genes=2)
    assert list(table["Genes"]) == ["Fn1;Vim"]
    assert table["P-value"].item() == pytest.approx(1 / 15)


def test_nothing_shared_is_an_empty_table() -> None:
    panel = ["A", "B", "C", "D"]
    table = enrich({"x": ["A"], "y": []}, {"S": ["B", "C"]}, panel, min_genes=2)
    assert table.empty
    assert "Adjusted P-value" in table
    with pytest.raises(ValueError, match="enrichment cannot be drawn"):
        draw_enrichment(made_prediction()[0], "figures", table)


def test_lists_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="The list 'x' holds 'Z', which is not in the background"):
        enrich({"x": ["Z"]}, {"S": ["A", "B"]}, ["A", "B", "C"], min_genes=2)
    with pytest.raises(ValueError, match="needs gene symbols, got numbers: '1'"):
        enrich({"x": ["1"]}, {"S": ["1", "2"]}, ["1", "2", "3"], min_genes=2)
    with pytest.raises(ValueError, match="None of 1 gene sets has 5 genes"):
        enrich({"x": ["A"]}, {"S": ["A", "B"]}, ["A", "B", "C"])


def test_without_gseapy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gseapy", None)
    with pytest.raises(ImportError, match=r"Enrichment needs gseapy .*pip install 'hist2st_pyg\[pathways\]'"):
        enrich({"x": ["A"]}, {"S": ["A", "B"]}, ["A", "B", "C"], min_genes=2)


def test_predicted_and_measured_scores_are_correlated() -> None:
    adata, measured = made_prediction()
    shuffled = measured[np.random.default_rng(0).permutation(64)[:60]]
    table, predicted, true = score_agreement(adata, shuffled, SETS)
    assert list(table.index) == list(predicted.columns) == list(true.columns) == ["TUMOR", "STROMA", "MIXED"]
    assert list(predicted.index) == list(true.index)
    assert len(true) == 60
    for name in table.index:
        assert table.loc[name, "pearson"] == pytest.approx(pearsonr(predicted[name], true[name]).statistic)
        assert table.loc[name, "spearman"] == pytest.approx(spearmanr(predicted[name], true[name]).statistic)
    assert table.loc["TUMOR", "pearson"] > 0.5
    counts = np.asarray(measured[true.index].X)
    target = AnnData(np.log10(1 + 1e4 * counts / counts.sum(1, keepdims=True)), var=measured.var)
    np.testing.assert_allclose(score_gene_sets(target, SETS), true, rtol=1e-5)


def test_only_genes_that_were_measured_are_scored() -> None:
    adata, measured = made_prediction()
    table, predicted, _ = score_agreement(adata, measured[:, 2:], SETS, min_genes=4)
    genes = [f"GENE{i}" for i in range(2, 6)]
    expected = score_gene_sets(adata[:, 2:].copy(), {"TUMOR": genes}, min_genes=4)
    np.testing.assert_allclose(predicted["TUMOR"], expected["TUMOR"])
    assert "SMALL" not in table.index


def test_scores_are_drawn(tmp_path: Path, drawn: Callable[[str], dict[str, Any]]) -> None:
    maps, pairs = drawn("expression_maps"), drawn("true_and_predicted")
    adata, measured = made_prediction()
    scores = score_gene_sets(adata, SETS)
    scores["MIXED"] *= 100
    assert draw_scores(adata, tmp_path, scores, n=2).name == "made_gene_sets.png"
    assert next(iter(maps["values"])) == "MIXED"
    assert len(maps["values"]) == 2
    assert maps["title"] == "made: the 2 of 3 gene sets whose predicted scores vary most"
    _, predicted, true = score_agreement(adata[::-1].copy(), measured, SETS)
    draw_scores(adata, tmp_path, predicted, true)
    pos, drawn_true, drawn_predicted, names, pcc = (pairs[name] for name in ("pos", "y_true", "y_pred", "genes", "pcc"))
    np.testing.assert_array_equal(pos, adata.obsm["spatial"][::-1])
    assert (drawn_true.shape, drawn_predicted.shape, list(names)) == ((64, 3), (64, 3), ["TUMOR", "STROMA", "MIXED"])
    assert (pairs["name"], pairs["what"], pairs["unit"]) == ("made", "gene sets", maps["unit"])
    assert pcc[0] == pytest.approx(pearsonr(predicted["TUMOR"], true["TUMOR"]).statistic)


def test_enrichment_is_drawn(tmp_path: Path, drawn: Callable[[str], dict[str, Any]]) -> None:
    seen = drawn("dot_plot")
    adata = made_prediction()[0]
    table = enrich({"b": ["GENE0", "GENE1", "GENE9"], "a": ["GENE8"]}, SETS, list(adata.var_names))
    assert draw_enrichment(adata, tmp_path, table).name == "made_enrichment.png"
    assert list(seen["color"].columns) == ["b", "a"]
    best = table.set_index(["Group", "Term"]).loc[("b", "TUMOR")]
    assert seen["color"].loc["TUMOR", "b"] == pytest.approx(-np.log10(best["Adjusted P-value"]))
    assert seen["size"].loc["TUMOR", "b"] == pytest.approx(2 / 6)
    assert np.isnan(seen["color"].loc["TUMOR", "a"])
