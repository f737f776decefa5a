from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from _helpers.spaceranger import Made, write_image, write_visium
from anndata import AnnData
from PIL import Image

from hist2st_pyg import Hist2ST
from hist2st_pyg.cli import main
from hist2st_pyg.image import RasterImage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sections of one patient, one of them with labels, and an image for each."""
    for number, name in enumerate(("a", "bb")):
        made = write_visium(tmp_path / "data" / name / "outs", Made(number))
        write_image(tmp_path / "images" / f"{name}.png", made.pos, made.places, 1, 4)
    return tmp_path / "data"


def test_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = json.dumps(
        {"image": str(folder.parent / "images"), "patients": {"a": "mouse", "bb": "mouse"}, "um_per_pixel": 0.25}
    )
    assert main(["info", str(folder), "--options", options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{folder}: visium, 2 sections of 1 patient.",
        "",
        "section  patient  spots  genes  µm/px      image  missing",
        "a        mouse       57      5   0.25  420 × 300  labels",
        "bb       mouse       57      5   0.25  420 × 300  labels",
        "",
        "Genes in all sections: 5.",
    ]


def test_what_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One section, without an image; another format, without a resolution."""
    assert main(["info", str(folder), "--sections", "bb"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith(": visium, 1 section of unknown patients.")
    assert out[3].split() == ["bb", "–", "57", "5", out[3].split()[4], "–", "image,", "labels"]
    assert float(out[3].split()[4]) == pytest.approx(Made().um_per_pixel, rel=0.005)
    assert len(out) == 4
    adata = AnnData(np.ones((3, 2), dtype=np.float32), obsm={"spatial": np.array([[1, 1], [9, 1], [1, 9]])})
    adata.obs["label"] = "tumor"
    adata.write_h5ad("x.h5ad")
    Image.new("RGB", (12, 11)).save("x.png")
    assert main(["info", "x.h5ad", "--options", '{"um_per_pixel": 0.25}']) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[2:] == ["3", "2", "0.25", "12", "×", "11", "nothing"]
    assert main(["info", "x.h5ad"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[2:] == ["3", "2", "–", "12", "×", "11", "resolution"]


def test_spots_that_are_not_on_the_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hires image given for the full-resolution image."""
    image = folder / "a" / "outs" / "spatial" / "tissue_hires_image.png"
    assert main(["info", str(folder / "a"), "--options", json.dumps({"image": str(image)})]) == 0
    assert "of 57 spots are not on the image (105 x 75 px)" in capsys.readouterr().out.splitlines()[-1]
    assert main(["info", str(folder / "a"), "--options", '{"image": "hires"}']) == 0
    assert "not on the image" not in capsys.readouterr().out


def test_images_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*arguments: object, **options: object) -> None:
        raise AssertionError("the image was decoded")

    for name in ("_decoded", "open", "thumbnail"):
        monkeypatch.setattr(RasterImage, name, decode)
    options = json.dumps({"image": str(folder.parent / "images")})
    assert main(["info", str(folder), "--options", options]) == 0


def test_the_data_set_can_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data" / "ST-cnts").mkdir(parents=True)  # her2st's mark as well
    assert main(["info", str(folder)]) == 2
    assert "looks like 'her2st' and like 'visium'; say which data set it is" in capsys.readouterr().err
    assert main(["info", str(folder), "--dataset", "visium"]) == 0
    assert ": visium, 2 sections" in capsys.readouterr().out
    assert main(["info", str(folder), "--dataset", "visum"]) == 2
    assert "Unknown dataset='visum'" in capsys.readouterr().err
    assert main(["info", str(folder), "--dataset", "visium", "--options", '{"spots": 3}']) == 2
    assert "'visium' has no option 'spots'; its options: image, patients" in capsys.readouterr().err


def test_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a model is one, whatever else lies in it."""
    model = Hist2ST(n_genes=3, vision="cnn", transformer_layers=0, gnn="sage")
    model.save_pretrained(tmp_path / "run" / "model")
    AnnData(np.ones((2, 2))).write_h5ad(tmp_path / "run" / "prediction.h5ad")
    for path in ("run", "run/model"):
        assert main(["info", path]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["arguments"]["gnn"] == "sage"
        assert shown["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["info", "empty"]) == 2
    error = capsys.readouterr().err
    assert "hist2st info: There is no model in empty (no config.json and model.safetensors). empty is not" in error
    assert " visium: a folder with filtered_feature_bc_matrix and spatial/tissue_positions*" in error
    assert main(["info", "nowhere"]) == 2
    assert (
        "hist2st info: There is no model at nowhere, and it is not an id owner/name on the hub."
        in capsys.readouterr().err
    )
    Path("notes.txt").write_text("x")
    assert main(["info", "notes.txt"]) == 2
    assert "notes.txt" in capsys.readouterr().err
