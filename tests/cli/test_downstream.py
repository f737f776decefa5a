"""Commands that read a prediction: regions, genes, pathways, confidence."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from _helpers.made_prediction import made_prediction

from hist2st_pyg.analysis.confidence import check_confidence, spot_confidence
from hist2st_pyg.analysis.genes import spatial_genes
from hist2st_pyg.analysis.pathways import score_agreement, score_gene_sets
from hist2st_pyg.analysis.regions import agreement, find_regions
from hist2st_pyg.cli import main
from hist2st_pyg.inference import write_h5ad
from hist2st_pyg.utils.csv_cells import unquoted_name
from hist2st_pyg.utils.file_names import file_name

SETS = {"TUMOUR": [f"GENE{i}" for i in range(6)], "STROMA": [f"GENE{i}" for i in range(8, 15)]}


@pytest.fixture(autouse=True)
def prediction() -> anndata.AnnData:
    """``made.h5ad``, its counts ``counts.h5ad`` and ``sets.gmt`` in the test's folder."""
    adata, measured = made_prediction()
    del measured.uns["parameters"]
    write_h5ad(adata, "made.h5ad")
    write_h5ad(measured, "counts.h5ad")
    lines = [f"{name}\tna\t" + "\t".join(genes) for name, genes in SETS.items()]
    Path("sets.gmt").write_text("\n".join([*lines, "SMALL\tna\tGENE1"]) + "\n")
    return adata


def test_regions(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["regions", "made.h5ad", "--method", "kmeans", "--labels", "tissue", "-o", "out.h5ad", "--seed", "2"]
    assert main([*arguments, "--figures", "pictures"]) == 0
    found = find_regions(prediction, "kmeans", n_regions=3, seed=2)  # as many as labels
    expected = agreement(found.obs["region"], prediction.obs["tissue"])
    assert expected is not None
    out = capsys.readouterr().out
    sizes = ", ".join(f"{region}: {n}" for region, n in found.obs["region"].value_counts(sort=False).items())
    assert out.splitlines() == [
        f"3 regions of 64 spots (kmeans): {sizes}.",
        f"ARI {expected['ari']:.3f}, NMI {expected['nmi']:.3f} against 3 labels.",
        "Regions: out.h5ad",
        "Picture: pictures/made_regions.png",
    ]
    written = anndata.read_h5ad("out.h5ad")
    assert list(written.obs["region"].astype(str)) == list(found.obs["region"].astype(str))
    assert list(written.obs["label"]) == list(prediction.obs["tissue"])
    assert written.uns["region"]["ari"] == expected["ari"]
    assert written.uns["region"]["params"]["method"] == "kmeans"


def test_regions_as_published(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    tissue, kept = prediction.obs["tissue"].astype(object), prediction.obs["array_row"] > 0
    tissue[kept].rename("label").rename_axis("spot").to_csv("labels.csv")
    arguments = ["regions", "made.h5ad", "--method", "paper", "--labels", "labels.csv"]
    assert main([*arguments, "-o", "out.h5ad", "--figures", "pictures"]) == 0
    known = tissue.where(kept, "undetermined").to_numpy()
    expected = agreement(find_regions(prediction, "paper", labels=known).obs["region"], known)
    assert expected is not None
    out = capsys.readouterr().out
    assert out.startswith("3 regions of 56 spots (paper): 0: ")
    assert "8 spots with the label 'undetermined' were dropped." in out
    assert f"ARI {expected['ari']:.3f}, NMI {expected['nmi']:.3f} against 3 labels." in out
    written = anndata.read_h5ad("out.h5ad")
    assert (written.obs["region"] == "undetermined").sum() == 8
    assert main(["genes", "out.h5ad", "--regions", "--figures", "pictures", "-o", "genes.csv"]) == 0
    assert set(pd.read_csv("genes_markers.csv")["group"].astype(str)) == {"0", "1", "2"}
    assert main(["regions", "made.h5ad", "--method", "paper"]) == 2
    assert "as many regions as labels: set labels" in capsys.readouterr().err


def test_regions_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regions", "made.h5ad", "--resolution", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "regions of 64 spots (leiden): 0: " in out
    assert "ARI" not in out
    assert main(["regions", "made.h5ad", "--method", "kmeans"]) == 2
    assert "k-means without labels needs --n_regions" in capsys.readouterr().err


def test_regions_of_a_label_file_of_one_label(capsys: pytest.CaptureFixture[str]) -> None:
    Path("labels.csv").write_text("spot,label\n0x0,fat\n1x0,fat\n")
    assert main(["regions", "made.h5ad", "--labels", "labels.csv", "-o", "out.h5ad"]) == 0
    assert main(["regions", "made.h5ad", "-o", "out.geojson"]) == 0
    outlined = {feature["properties"]["name"] for feature in json.loads(Path("out.geojson").read_text())["features"]}
    assert outlined == set(anndata.read_h5ad("out.h5ad").obs["region"].astype(str)) - {"undetermined"}
    assert main(["regions", "made.h5ad", "--labels", "out.geojson"]) == 0
    assert "fewer than two labels, so agreement cannot be computed" in capsys.readouterr().out


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
    assert set(markers["group"]) == {"fat", "stroma", "tumour"}
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
    assert enriched.set_index(["Group", "Term"]).loc[("tumour", "TUMOUR"), "Overlap"] == "6/6"
    assert {path.name for path in Path("pictures").iterdir()} == {"made_gene_sets.png", "made_enrichment.png"}


def test_pathways_of_the_highest_moran_s_i(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "--enrich", "moran", "-o", "sets.csv"]) == 0
    assert "50 genes of the highest I" in capsys.readouterr().out
    assert list(pd.read_csv("sets.csv").columns) == ["gene_set", "genes", "in_panel", "moran"]
    assert not Path("pictures").exists()


def test_confidence(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["confidence", "made.h5ad", "--measured", "counts.h5ad", "-o", "spots.csv", "--figures", "pictures"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") : out.index("}") + 1]) == check_confidence(prediction, made_prediction()[1])
    np.testing.assert_allclose(pd.read_csv("spots.csv", index_col="spot"), spot_confidence(prediction), rtol=1e-6)
    assert Path("pictures/made_confidence.png").is_file()


def test_the_measured_section_of_a_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    """Which is another than the prediction's here, and told from it by its spots."""
    options = ["--data.name", "synthetic", "--data.options", '{"spots": 20, "genes": 5, "noise_genes": 1}']
    assert main(["confidence", "made.h5ad", "--measured", "Z9", *options]) == 2
    assert "Z9" in capsys.readouterr().err
    assert main(["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "--measured", "A1", *options]) == 2
    assert "None of 2 gene sets has 5 genes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["regions", "nowhere.h5ad"], "hist2st regions: There is no file nowhere.h5ad."),
        (["regions", "counts.h5ad"], "counts.h5ad: X must be log expression, got whole numbers"),
        (["regions", "made.h5ad", "--labels", "nowhere.csv"], "Labels 'nowhere.csv': there is no such file"),
        (["regions", "made.h5ad", "--method", "louvain"], "Unknown method='louvain'"),
        (["genes", "sets.gmt"], "sets.gmt is damaged or not an AnnData file"),
        (["pathways", "made.h5ad", "--gene_sets", "made.h5ad"], "made.h5ad is not a file of gene sets"),
        (["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "--min_genes", "9"], "None of 3 gene sets has 9 genes"),
        (["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "--enrich", "region"], "no column obs['region']"),
        (["confidence", "made.h5ad", "--measured", "nowhere.h5ad"], "There is no file nowhere.h5ad"),
    ],
)
def test_user_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["regions", "genes", "confidence", "pathways"])
def test_outputs_that_cannot_be_written_are_refused_first(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--gene_sets", "sets.gmt"] if command == "pathways" else []
    for option, path in (("--output", "/proc/x.csv"), ("--figures", "/proc/x"), ("--figures", "made.h5ad/x")):
        assert main([command, "made.h5ad", *sets, option, path]) == 2
        said = capsys.readouterr()
        assert said.err.startswith(f"hist2st {command}: {path} cannot be written: ")
        assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "module", "written"),
    [
        (["regions", "made.h5ad", "-o", "out.h5ad"], "regions.draw_regions", ["out.h5ad"]),
        (["genes", "out.h5ad", "--regions", "tissue", "-o", "g.csv"], "genes.draw_genes", ["g.csv", "g_markers.csv"]),
        (["confidence", "made.h5ad", "-o", "c.csv"], "confidence.draw_confidence", ["c.csv"]),
        (
            ["pathways", "made.h5ad", "--gene_sets", "sets.gmt", "-o", "s.csv"],
            "pathways.draw_scores",
            ["s.csv", "s_scores.csv"],
        ),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_warning(
    arguments: list[str],
    module: str,
    written: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*arguments: object) -> None:
        raise ValueError("no ink")

    Path("out.h5ad").write_bytes(Path("made.h5ad").read_bytes())
    monkeypatch.setattr(f"hist2st_pyg.analysis.{module}", broken)
    assert main([*arguments, "--figures", "f"]) == 0
    assert all(Path(name).is_file() for name in written)
    assert any(message.endswith(" in f was not drawn: ValueError: no ink") for message in caplog.messages)


def test_names_are_no_formulas_and_no_paths(prediction: anndata.AnnData) -> None:
    names = ["=cmd|'/C calc'!A0", "$\\frac$", *prediction.var_names[2:]]
    prediction.var_names = names
    prediction.uns["spatial"] = {"..\n<b>": prediction.uns["spatial"]["made"]}
    write_h5ad(prediction, "odd.h5ad")
    assert main(["genes", "odd.h5ad", "-o", "out/g.csv", "--figures", "out/f"]) == 0
    read = {unquoted_name(name) for name in pd.read_csv("out/g.csv")["gene"]}
    assert read == set(names)
    assert "\n'=cmd|'/C calc'!A0," in Path("out/g.csv").read_text()
    (picture,) = Path("out/f").iterdir()
    assert picture.name == f"{file_name('..' + chr(10) + '<b>')}_spatial_genes.png"


def test_regions_of_one_spot_are_refused_before_the_work(
    prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]
) -> None:
    prediction.obs["one"] = "a"
    write_h5ad(prediction, "one.h5ad")
    for command in (["genes", "--regions", "one"], ["pathways", "--gene_sets", "sets.gmt", "--enrich", "one"]):
        assert main([command[0], "one.h5ad", *command[1:]]) == 2
        said = capsys.readouterr()
        assert "Markers need two regions of at least 2 spots; obs['one'] has {'a': " in said.err
        assert said.out == ""
