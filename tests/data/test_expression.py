from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from numpy.typing import NDArray
from scipy import sparse

from hist2st_pyg import Section, to_data
from hist2st_pyg.data import expression_target, gene_panel, variable_genes
from hist2st_pyg.data.expression import genes_of_variance, panel_counts
from hist2st_pyg.io.tables import check_genes, read_genes

COUNTS = np.array([[1, 3, 0, 6], [0, 0, 0, 8], [2, 0, 2, 0]], dtype=np.float32)
GENES = ["G0", "G1", "G2", "G3"]


def section(
    counts: NDArray[Any] = COUNTS, genes: list[str] = GENES, name: str = "S1", convert: Any = np.asarray
) -> Section:
    n = len(counts)
    adata = anndata.AnnData(
        convert(counts.astype(np.float32)),
        obs=pd.DataFrame({"array_col": np.arange(n), "array_row": 0}, index=[f"s{i}" for i in range(n)]),
        var=pd.DataFrame(index=genes),
        obsm={"spatial": np.stack([10.0 * np.arange(n) + 20, np.full(n, 20.0)], 1)},
    )
    return Section(name, name[0], adata, np.full((40, 10 * n + 40, 3), 200, np.uint8))


def both_kinds(test: Any) -> Any:
    return pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])(test)


# The target.


@both_kinds
def test_the_target_by_hand(convert: Any) -> None:
    s = section(convert=convert)
    counts, _ = panel_counts(s, ["G1", "G0"])
    np.testing.assert_array_equal(counts, [[3, 1], [0, 0], [0, 2]])
    log = np.log10
    # Totals over the panel are 4, 0 and 2.
    panel = [[log(7501), log(2501)], [0, 0], [0, log(10001)]]
    np.testing.assert_allclose(expression_target(s, counts, "panel"), panel, rtol=1e-6)
    # Totals over all genes are 10, 8 and 4.
    everything = [[log(3001), log(1001)], [0, 0], [0, log(5001)]]
    np.testing.assert_allclose(expression_target(s, counts, "all"), everything, rtol=1e-6)
    assert expression_target(s, counts).dtype == np.float32
    np.testing.assert_array_equal(expression_target(s, counts), expression_target(s, counts, "panel"))
    single = section(np.array([[0, 1, 0, 0]]))
    np.testing.assert_allclose(expression_target(single, panel_counts(single, GENES)[0])[0, 1], log(10001), rtol=1e-6)
    with pytest.raises(ValueError, match=r"Unknown normalize_by='some'. Choose one of: all, panel"):
        expression_target(s, counts, "some")  # type: ignore[arg-type]


@pytest.mark.parametrize("total", ["panel", "all"])
def test_the_target_of_a_data(total: str) -> None:
    data = to_data(section(), ["G3", "G0"], patch_size=14, k=1, normalize_by=total)
    totals = np.array([7, 8, 2] if total == "panel" else [10, 8, 4])[:, None]
    counts = np.array([[6, 1], [8, 0], [0, 2]])
    np.testing.assert_array_equal(data.counts, counts)
    np.testing.assert_allclose(data.y, np.log10(1 + 1e4 * counts / totals), rtol=1e-6)
    np.testing.assert_allclose(data.size_factor, np.array([7, 8, 2]) / 7)  # always of the panel, by the median spot


# The panel of a section.


@both_kinds
def test_panel_counts_are_in_the_panels_order(convert: Any) -> None:
    counts, mask = panel_counts(section(convert=convert), ["G2", "G0", "G3", "G1"])
    np.testing.assert_array_equal(counts, COUNTS[:, [2, 0, 3, 1]])
    assert mask.all()
    assert (counts.dtype, mask.dtype) == (np.float32, np.bool_)


@both_kinds
def test_a_gene_that_was_not_measured_is_marked(convert: Any) -> None:
    counts, mask = panel_counts(section(convert=convert), ["G2", "other", "G0"])
    assert mask.tolist() == [True, False, True]
    np.testing.assert_array_equal(counts[:, mask], COUNTS[:, [2, 0]])
    data = to_data(section(), ["G2", "other", "G0"], patch_size=14, k=1)
    assert data.gene_mask.tolist() == [True, False, True]


def test_a_gene_measured_as_zero_is_not_marked() -> None:
    _, mask = panel_counts(section(np.zeros((3, 4))), GENES)
    assert mask.all()


def test_the_wrong_panel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Section 'S1': 0 of the panel's 2 genes are measured"):
        to_data(section(), ["ENSG1", "ENSG2"], patch_size=14, k=1)
    with pytest.raises(
        ValueError, match=r"Section 'S1': 1 of the panel's 1 genes are measured and the median spot has 0"
    ):
        to_data(section(), ["G1"], patch_size=14, k=1)


# Choosing the panel.


def varied(name: str, seed: int, *varying: str, genes: int = 200) -> Section:
    """Poisson counts; each gene has a level of its own, those of ``varying`` are on and off around it."""
    rng = np.random.default_rng(seed)
    names = [f"G{i}" for i in range(genes)]
    mean = np.tile(np.geomspace(5, 80, genes), (80, 1))
    for gene in varying:
        mean[:, names.index(gene)] *= np.where(np.arange(80) % 2, 1.95, 0.05)
    return section(rng.poisson(mean).astype(np.float32), names, name)


def test_the_most_variable_genes_are_taken() -> None:
    sections = [varied("A1", 0, "G7", "G131", "G180"), varied("B1", 1, "G7", "G131", "G180")]
    assert set(variable_genes(sections, 3)) == {"G7", "G131", "G180"}
    assert len(set(variable_genes(sections, 10))) == 10


def test_a_gene_that_varies_only_elsewhere_is_not_taken() -> None:
    training, test = [varied("A1", 0, "G7", "G131"), varied("A2", 1, "G7", "G131")], varied("B1", 2, "G5", "G144")
    assert set(variable_genes(training, 2)) == {"G7", "G131"}
    assert not {"G5", "G144"} & set(variable_genes(training, 2))
    assert set(variable_genes([test], 2)) == {"G5", "G144"}
    assert set(gene_panel("variable", training, 2)) == {"G7", "G131"}


def test_levels_that_differ_between_sections_are_no_variation() -> None:
    first, second = varied("A1", 0, "G7", "G131"), varied("B1", 1, "G7", "G131")
    first.adata.X[:, 3] = 0
    second.adata.X[:, 3] = 150  # stain, depth, patient: constant within each
    assert set(variable_genes([first, second], 2)) == {"G7", "G131"}


def test_the_sections_counts_stay_as_they_are() -> None:
    sections = [varied("A1", 0, "G7"), varied("B1", 1, "G7")]
    before = [s.adata.copy() for s in sections]
    first = variable_genes(sections, 5)
    for s, old in zip(sections, before, strict=True):
        np.testing.assert_array_equal(s.adata.X, old.X)
        assert list(s.adata.var.columns) == list(old.var.columns)
    assert variable_genes(sections, 5) == first


def test_only_shared_expressed_genes_are_taken() -> None:
    first, second = varied("A1", 0, "G7"), varied("B1", 1, "G7")
    second = section(second.adata.X[:, :40], list(second.adata.var_names[:40]), "B1")
    first.adata.X[:, 0] = second.adata.X[:, 0] = 0
    genes = variable_genes([first, second], 39)
    assert set(genes) == {f"G{i}" for i in range(1, 40)}
    with pytest.raises(ValueError, match="39 genes that are detected in 10% of the spots, fewer than the panel's 40"):
        variable_genes([first, second], 40)


def test_a_tenth_of_the_spots_is_rounded_up() -> None:
    counts = np.zeros((15, 3), dtype=np.float32)
    counts[:, 0], counts[:2, 1], counts[:1, 2] = 1, 1, 1  # of 15 spots two are a tenth, one is not
    with pytest.raises(ValueError, match="share 2 genes that are detected in 10% of the spots"):
        variable_genes([section(counts, ["A", "B", "C"])], 3)


def test_the_most_variable_gene_comes_first() -> None:
    one = varied("A1", 0, "G7", "G131", "G180")
    adata = one.adata.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    dispersion = sc.pp.highly_variable_genes(adata, n_top_genes=5, inplace=False)["dispersions_norm"].to_numpy()
    order = np.argsort(-dispersion)[:5]
    assert len(set(dispersion[order])) == 5
    assert variable_genes([one], 5) == [f"G{i}" for i in order]


def poisson(name: str, seed: int, genes: list[str], convert: Any = np.asarray) -> Section:
    """Poisson counts of genes at levels of their own, at spots of depths of their own."""
    rng = np.random.default_rng(seed)
    mean = np.random.default_rng(5).lognormal(1, 1.5, len(genes)) * rng.lognormal(0, 0.5, (50, 1))
    return section(rng.poisson(mean).astype(np.float32), genes, name, convert)


@both_kinds
@pytest.mark.parametrize("k", [1, 12, 30])
def test_the_genes_of_the_largest_variance_by_numpy(k: int, convert: Any) -> None:
    genes = [f"G{i}" for i in range(30)]
    sections = [poisson("A1", 0, genes, convert), poisson("B1", 1, genes, convert)]
    targets = []
    for s in sections:
        counts = np.asarray(s.adata.to_df(), dtype=np.float64)
        targets.append(np.log10(1 + 1e4 * counts / np.maximum(counts.sum(1, keepdims=True), 1)))
    variance = np.concatenate(targets).var(0)
    largest = set(np.argsort(variance)[-k:])
    expected = [gene for i, gene in enumerate(genes) if i in largest]
    assert genes_of_variance(sections, k) == expected
    assert gene_panel("variance", sections, k) == expected


@both_kinds
def test_panels_do_not_depend_on_how_many_spots_are_read_at_a_time(
    convert: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    genes = [f"G{i}" for i in range(30)]
    sections = [poisson("A1", 0, genes, convert), poisson("B1", 1, genes[::-1], convert)]
    panels = [variable_genes(sections, 12), genes_of_variance(sections, 12)]
    monkeypatch.setattr("hist2st_pyg.utils.rows.ROWS_AT_ONCE", 7)
    assert [variable_genes(sections, 12), genes_of_variance(sections, 12)] == panels


def test_the_variable_panel_is_scanpys_on_all_genes() -> None:
    genes = [f"G{i}" for i in range(60)]
    sections = [poisson("A1", 0, genes), poisson("B1", 1, genes[5:])]
    for each in sections:
        each.adata.X[4:, -10:] = 0  # rare: not in the panel, nor in the totals that it is found by
    pooled = anndata.concat({s.name: s.adata for s in sections}, label="section", index_unique="-")
    sc.pp.filter_genes(pooled, min_cells=10)
    assert 40 <= pooled.n_vars <= 45
    sc.pp.normalize_total(pooled, target_sum=1e4)
    sc.pp.log1p(pooled)
    table = sc.pp.highly_variable_genes(pooled, n_top_genes=15, batch_key="section", inplace=False)
    assert set(variable_genes(sections, 15)) == set(pooled.var_names[table["highly_variable"]])


def test_levels_that_differ_between_sections_are_variance() -> None:
    counts = np.tile([50.0, 60, 70, 80], (6, 1)) + np.arange(6)[:, None]
    other = counts.copy()
    other[:, 2] = 1  # constant within each
    assert genes_of_variance([section(counts, name="A1"), section(other, name="B1")], 1) == ["G2"]
    assert genes_of_variance([section(counts, name="A1")], 1) != ["G2"]


def test_the_variance_panel_is_in_the_first_sections_order() -> None:
    genes = [f"G{i}" for i in range(20)]
    first, second = poisson("A1", 0, genes), poisson("B1", 1, genes)
    turned = section(second.adata.X[:, ::-1], genes[::-1], "B1")
    expected = genes_of_variance([first, second], 7)
    assert expected == sorted(expected, key=genes.index)
    assert genes_of_variance([first, turned], 7) == expected
    assert genes_of_variance([turned, first], 7) == expected[::-1]
    same = section(np.ones((3, 4)), GENES)
    assert genes_of_variance([same], 2) == ["G0", "G1"]  # of genes that vary alike, the first


def test_the_variance_panel_has_shared_genes_only() -> None:
    genes = [f"G{i}" for i in range(20)]
    first, second = poisson("A1", 0, genes), poisson("B1", 1, genes)
    less = section(second.adata.X[:, 5:], genes[5:], "B1")
    before = first.adata.copy()
    assert genes_of_variance([first, less], 15) == genes[5:]
    np.testing.assert_array_equal(first.adata.X, before.X)
    with pytest.raises(ValueError, match="The training sections share 15 genes, fewer than the panel's 16"):
        gene_panel("variance", [first, less], 16)


def test_totals_of_the_variance_panel_are_over_all_genes() -> None:
    # What the second section did not measure makes the first one's shares vary, most that of the gene of high counts.
    first = section(np.array([[0, 1, 1000], [1e6, 1, 1000], [0, 1, 1000]]), ["other", "low", "high"], "A1")
    second = section(np.array([[1, 1000], [1, 1000]]), ["low", "high"], "B1")
    assert genes_of_variance([first, second], 1) == ["high"]


def test_read_genes(tmp_path: Path) -> None:
    file = tmp_path / "genes.txt"
    file.write_bytes("FASN\r\n  GNAS \n\nµ-gene\n".encode())
    assert read_genes(file) == ["FASN", "GNAS", "µ-gene"]
    file.write_text("FASN\nGNAS\n", encoding="utf-8-sig")  # as a spreadsheet writes it
    assert read_genes(file) == ["FASN", "GNAS"]
    file.write_text("FASN\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"genes\.txt is not a text file in UTF-8"):
        read_genes(file)
    with pytest.raises(FileNotFoundError):
        read_genes(tmp_path / "nowhere.txt")
    file.write_text("\n \n")
    with pytest.raises(ValueError, match=r"genes\.txt: the gene panel is empty"):
        read_genes(file)
    file.write_text("A\nB\nA\n")
    with pytest.raises(ValueError, match=r"genes\.txt: gene 'A' is in the panel twice"):
        read_genes(file)


def test_check_genes() -> None:
    check_genes(("A", "B"), "here")
    with pytest.raises(ValueError, match="here: the gene panel is empty"):
        check_genes([], "here")
    with pytest.raises(ValueError, match="here: gene 'B' is in the panel twice"):
        check_genes(["B", "A", "B"], "here")


def test_a_panel_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "genes.txt").write_text("G2\nG0\n")
    assert gene_panel(str(tmp_path / "genes.txt"), [section()], 9) == ["G2", "G0"]
    with pytest.raises(ValueError, match=r"panel: none of its 2 genes \('A', ...\) is in the training sections"):
        gene_panel(["A", "B"], [section()], 9)
    with pytest.raises(FileNotFoundError):
        gene_panel("varible", [section()], 9)
    with pytest.raises(ValueError, match="panel='paper' needs the data set's root"):
        gene_panel("paper", [section()], 9, "her2st")
    with pytest.raises(ValueError, match="'synthetic' has no published gene panel"):
        gene_panel("paper", [section()], 9, "synthetic", tmp_path)


@pytest.mark.parametrize("n_unknown", [1, 10, 11])
def test_genes_that_no_training_section_measured_are_named_and_left_out(
    n_unknown: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    unknown = [f"other{i}" for i in range(n_unknown)]
    panel = ["G2", *unknown, "G0"]
    less = section(COUNTS[:, :1], ["G0"], "S2")
    # One section that measured a gene is enough.
    assert gene_panel(panel, [less, section()], 9) == ["G2", "G0"]
    (warning,) = (record.getMessage() for record in caplog.records)
    shown = ", ".join(map(repr, unknown[:10])) + (", ..." if n_unknown > 10 else "")
    assert warning == f"panel: {n_unknown} of {len(panel)} genes are in no training section and are left out: {shown}"
    (tmp_path / "genes.txt").write_text("\n".join(panel), encoding="utf-8-sig")
    caplog.clear()
    assert gene_panel(str(tmp_path / "genes.txt"), [section()], 9) == ["G2", "G0"]
    assert "genes.txt: " in caplog.text
    caplog.clear()
    assert gene_panel(["G2", "G0"], [section()], 9) == ["G2", "G0"]
    assert not caplog.text


def test_the_published_panel(real_data: Path) -> None:
    from hist2st_pyg import load_sections

    root = real_data / "her2st"
    sections = load_sections("her2st", root=root, names=["C2"])
    genes = gene_panel("paper", sections, 9, "her2st", root)
    assert len(genes) == len(set(genes)) == 785


@pytest.mark.parametrize(("genes", "warned"), [(["G1"], True), (["G0", "G1"], True), (["G0", "G1", "G3"], False)])
def test_a_panel_of_one_or_two_genes_is_warned_of(
    genes: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    s = section()
    counts, _ = panel_counts(s, genes)
    expression_target(s, counts)
    assert ("S1: shares of the panel's counts are hardly" in caplog.text) == warned
    assert ("normalize_by: all" in caplog.text) == warned
    caplog.clear()
    expression_target(s, counts, "all")
    assert not caplog.text
