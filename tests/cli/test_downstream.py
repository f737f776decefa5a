"""Commands that read a prediction: regions, genes, pathways, confidence."""

from __future__ import annotations

from pathlib import Path

import anndata
import pandas as pd
import pytest

from hist2st_pyg.cli import main
from hist2st_pyg.inference import write_h5ad
from hist2st_pyg.utils.csv_cells import unquoted_name
from hist2st_pyg.utils.file_names import file_name

pytestmark = pytest.mark.usefixtures("prediction")


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
