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


def test_the_real_strip_is_that_of_its_result_file() -> None:
    cell = json.loads(strips.RESULT.read_text(encoding="utf-8"))
    assert not set(cell["patients"]["test"]) & {*cell["patients"]["train"], *cell["patients"]["val"]}
    section = cell["test"]["B4"]
    genes = section["map"]["genes"]
    figure = strips.real_strip(strips.RESULT)
    measured, predicted = figure.axes
    gene = measured.get_title().partition(",")[0]
    assert section["per_gene"][gene] == max(section["per_gene"][name] for name in genes)
    assert predicted.get_title() == f"{gene}, predicted (PCC {section['per_gene'][gene]:.2f})"
    for axis, name in ((measured, "true"), (predicted, "predicted")):
        np.testing.assert_array_equal(axis.collections[0].get_array(), genes[gene][name])
    assert f"mean PCC of all 785 genes: {cell['metrics']['pcc_mean']:.2f}" in figure.get_suptitle()


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
    assert strips.real_strip(strips.RESULT, real_data).axes[0].get_title() == "H&E, spots"


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert strips.main(["--run", str(tmp_path / "none"), "-o", str(tmp_path)]) == 2
    assert "benchmarks.strips: " in capsys.readouterr().err
