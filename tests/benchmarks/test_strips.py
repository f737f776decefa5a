"""The README's strips: what the command draws, and that the committed pictures are such."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib_scalebar.scalebar import ScaleBar
from PIL import Image

from benchmarks import strips
from hist2st_pyg import Hist2ST, Preprocessing


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved model of a demo that has learned nothing."""
    model = Hist2ST(
        3, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="sage", likelihood=None,
    )  # fmt: skip
    model.preprocessing = Preprocessing(("GENE1", "GENE2", "GENE3"), patch_size=28, pitch=64.0)
    model.gene_trust = {"val_pcc": [0.1, 0.5, None], "val_ceiling": [0.8, 0.8, 0.8], "detected": [True, True, True]}
    folder = tmp_path_factory.mktemp("demo")
    model.eval().save_pretrained(folder)
    return folder


def test_the_synthetic_strip_is_image_measured_and_predicted_of_the_gene_that_validated_best(run: Path) -> None:
    figure = strips.synthetic_strip(run)
    image, measured, predicted = figure.axes
    assert (image.get_title(), measured.get_title()) == ("H&E, spots", "GENE2, measured")
    assert predicted.get_title().startswith("GENE2, predicted (PCC ")
    assert measured.collections[0].get_clim() == predicted.collections[0].get_clim()
    assert len(figure.findobj(ScaleBar)) == 1
    assert "mean PCC of all 3 genes: " in figure.get_suptitle()


def test_the_real_strip_is_that_of_its_result_files() -> None:
    small, ridge = (json.loads(path.read_text(encoding="utf-8")) for path in strips.RESULTS.values())
    assert not set(small["patients"]["test"]) & {*small["patients"]["train"], *small["patients"]["val"]}
    assert (ridge["model"], ridge["sections"]) == ("ridge_neighbors", small["sections"])
    per_gene, genes = small["test"]["B4"]["per_gene"], small["test"]["B4"]["map"]["genes"]
    figure = strips.real_strip(strips.RESULTS)
    gene = max(genes, key=lambda name: per_gene[name])
    assert [axis.get_title() for axis in figure.axes] == [
        f"{gene}, measured",
        f"{gene}, predicted (PCC {per_gene[gene]:.2f})",
        f"{gene}, ridge regression (PCC {ridge['per_gene'][gene]:.2f})",
    ]
    shown = [genes[gene]["true"], genes[gene]["predicted"], ridge["test"]["B4"]["map"]["genes"][gene]["predicted"]]
    for axis, values in zip(figure.axes, shown, strict=True):
        np.testing.assert_array_equal(axis.collections[0].get_array(), values)
    means = [cell["metrics"]["pcc_mean"] for cell in (small, ridge)]
    said = "mean PCC of all 785 genes: predicted {:.2f}, ridge regression {:.2f}".format(*means)
    assert said in figure.get_suptitle()


def test_the_command_writes_both_as_they_are_committed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert strips.main(["--run", str(run), "-o", str(tmp_path)]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == [
        "strip_synthetic.png", "strip_her2st.png"
    ]  # fmt: skip
    for name in ("strip_synthetic.png", "strip_her2st.png"):
        with Image.open(tmp_path / name) as drawn, Image.open(strips.IMAGES / name) as committed:
            assert drawn.size == committed.size
        assert (tmp_path / name).stat().st_size < 300_000
    # The synthetic maps depend on the model, the real ones on a result file alone.
    with Image.open(tmp_path / name) as drawn, Image.open(strips.IMAGES / name) as committed:
        apart = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(committed.convert("L"), float))
    assert apart.mean() < 2


def test_the_image_of_the_real_section_is_drawn_where_the_data_are(real_data: Path) -> None:
    assert strips.real_strip(strips.RESULTS, real_data).axes[0].get_title() == "H&E, spots"


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert strips.main(["--run", str(tmp_path / "none"), "-o", str(tmp_path)]) == 2
    assert "benchmarks.strips: " in capsys.readouterr().err
