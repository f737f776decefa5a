from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from _helpers.full_disk import full_disk
from PIL import Image

from hist2st_pyg import Hist2ST, Preprocessing, Section, load_model
from hist2st_pyg.analysis import maps
from hist2st_pyg.cli import main

GENES = tuple(f"GENE{i}" for i in range(1, 7))
COMMAND = [sys.executable, "-c", "from hist2st_pyg.cli import main; raise SystemExit(main())"]


@pytest.fixture
def here(cohort: list[Section], tmp_path: Path) -> Path:
    """A model and four slides, of which one is cut off."""
    torch.manual_seed(0)
    model = Hist2ST(
        len(GENES), patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16},
        transformer_layers=0, position="none", gnn="sage", gnn_layers=1,
    )  # fmt: skip
    model.preprocessing = Preprocessing(GENES, patch_size=28, pitch=64.0, um_per_pixel=3.0)
    model.save_pretrained("model")
    Path("slides").mkdir()
    image = cohort[0].require_image()
    with image.open() as region:
        for name in ("a", "b", "d"):
            Image.fromarray(region(0, 0, *image.size)).save(f"slides/{name}.png")
    Path("slides/c.png").write_bytes(Path("slides/a.png").read_bytes()[:3000])
    return tmp_path


def images() -> list[str]:
    return [str(path) for path in sorted(Path("slides").iterdir())]


def test_a_cohort_with_a_broken_slide(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", "model", *images(), "-o", "out", "--um_per_pixel", "3", "--genes", "[GENE2]"]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "slide  outcome  spots  seconds"
    assert said.count("is damaged or not a JPEG or PNG image: image file is truncated") == 1
    assert "\n3 done, 0 skipped, 1 failed.\n" in said
    assert "The tracebacks are in out/*.failed.txt; run the command again to retry the failed slides." in said
    assert {path.name for path in Path("out/figures").iterdir()} == {
        f"{name}_{what}.png" for name in "abd" for what in ("predicted", "tissue")
    }
    assert main(command) == 1
    assert "\n0 done, 3 skipped, 1 failed.\n" in capsys.readouterr().out
    Image.open("slides/a.png").save("slides/c.png")
    assert main(command) == 0
    assert "\n1 done, 3 skipped, 0 failed.\n" in capsys.readouterr().out
    assert main([*command, "--pitch", "80"]) == 2
    assert "was made with another configuration (options.pitch was None, is 80.0)" in capsys.readouterr().err


def test_a_killed_cohort_goes_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("slides/c.png").unlink()
    for name in ("e", "f", "g"):
        shutil.copy("slides/a.png", f"slides/{name}.png")
    command = ["predict", "model", *images(), "-o", "out", "--um_per_pixel", "3"]

    def finished() -> dict[Path, tuple[int, bytes]]:
        states = {path: path.read_bytes() for path in Path("out").glob("*.json")}
        return {p: (p.with_suffix(".h5ad").stat().st_mtime_ns, s) for p, s in states.items() if b"pictures" in s}

    process = subprocess.Popen([*COMMAND, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not finished():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(0.2)
    before = finished()
    time.sleep(1)
    assert finished() == before  # the slide that was being predicted ended with its cohort
    assert 1 <= len(before) < 6
    assert main(command) == 0
    assert f"\n{6 - len(before)} done, {len(before)} skipped, 0 failed.\n" in capsys.readouterr().out
    after = finished()
    assert len(after) == 6
    assert before.items() <= after.items()


def test_one_image_to_one_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import spatialdata

    command = ["predict", "model", "slides/a.png", "--um_per_pixel", "3"]
    assert main([*command, "-o", "a.h5ad"]) == 0
    spots = anndata.read_h5ad("a.h5ad").n_obs
    assert f"{spots} spots x 6 genes in a.h5ad." in capsys.readouterr().out
    assert not list(Path().glob("*.json"))
    # 270 µm are 90 pixels.
    assert main([*command, "-o", "wide.h5ad", "--pitch_um", "270", "--block", "20"]) == 0
    wide = anndata.read_h5ad("wide.h5ad")
    assert wide.n_obs < spots
    assert wide.uns["hist2st"]["pitch"] == pytest.approx(90)
    assert main([*command, "-o", "a.zarr"]) == 0
    assert spatialdata.read_zarr("a.zarr").tables["hist2st"].n_obs == spots
    assert main([*command, "-o", "a.zarr"]) == 2
    assert "has a table 'hist2st'" in capsys.readouterr().err
    assert main([*command, "-o", "a.zarr", "--overwrite"]) == 0


def test_one_image_to_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", "model", "slides/a.png", "--um_per_pixel", "3"]
    assert main([*command, "-o", "a.h5ad"]) == 0
    assert main([*command, "-o", "a.csv"]) == 0
    expected = anndata.read_h5ad("a.h5ad")
    assert f"{expected.n_obs} spots x 6 genes in a.csv." in capsys.readouterr().out
    table = pd.read_csv("a.csv", index_col="spot", float_precision="round_trip")
    assert list(table.columns) == ["x", "y", *GENES]
    assert list(table.index) == list(expected.obs_names)
    np.testing.assert_array_equal(table[["x", "y"]], expected.obsm["spatial"])
    np.testing.assert_array_equal(table[list(GENES)].to_numpy(np.float32), expected.X)  # nothing is rounded
    assert {path.name for path in Path().iterdir()} == {"model", "slides", "a.csv", "a.h5ad"}


def test_a_gene_that_is_named_as_a_column_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("model")
    assert model.preprocessing is not None
    model.preprocessing = replace(model.preprocessing, genes=("x", *GENES[1:]))
    model.save_pretrained("other")
    assert main(["predict", "other", "slides/a.png", "--um_per_pixel", "3", "-o", "a.csv"]) == 2
    assert "The gene 'x' has the name of a reserved column of the .csv; write .h5ad instead." in capsys.readouterr().err
    assert not Path("a.csv").exists()


@pytest.mark.parametrize("folder", ["out", "slides.2026/", "there.v2"])
def test_folders(here: Path, folder: str) -> None:
    Path("there.v2").mkdir()
    assert main(["predict", "model", "slides/a.png", "--um_per_pixel", "3", "-o", folder, "--format", "csv"]) == 0
    assert Path(folder, "a.csv").is_file()


def test_one_image_to_a_folder(here: Path) -> None:
    Path("s.csv").write_text("x,y\n200,200\n264,200\n200,264\n264,264\n")
    assert main(["predict", "model", "slides/a.png", "-o", "new/folder", "--spots", "s.csv", "--format", "zarr"]) == 0
    assert json.loads(Path("new/folder/a.json").read_text())["result"]["spots"] == 4
    assert Path("new/folder/a.zarr").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["slides/a.png", "slides/b.png", "-o", "x.h5ad"],
            "The output of 2 images must be a folder, got the",
        ),
        (
            ["slides/a.png", "-o", "x.txt"],
            "x.txt: .txt is not a format of predictions; a file must end in one of .csv,",
        ),
        (["slides/a.png", "slides/b.png", "-o", "x.tsv"], "x.tsv: .tsv is not a format of predictions"),
        (
            ["slides/a.png", "slides/b.png", "-o", "x.csv"],
            "2 images must be a folder, got the file x.csv.",
        ),
        (["slides/a.png", "-o", ""], "--output is empty; it must be a file or a folder."),
        (
            ["slides/a.png", "-o", "x.zarr", "--jobs", "2"],
            "--jobs needs a folder as output (-o FOLDER), got the",
        ),
        (["slides/a.png", "slides/b.png", "-o", "x", "--spots", "s.csv"], "There is no spot file or folder"),
        (["slides/a.png", "slides/a.png", "-o", "x"], "Two slides have the same name 'a'"),
        (["slides/a.png", "slides/z.png", "-o", "x"], "There is no image file slides/z.png"),
        (["slides/a.png", "model/config.json", "-o", "x"], "image format '.json' is not supported"),
        (["slides/a.png", "-o", "x", "--genes", "[ERBB2]"], "The gene 'ERBB2' is not in the model's panel of 6 genes"),
        (["slides/a.png", "-o", "x.h5ad", "--genes", "[ERBB2]"], "The gene 'ERBB2' is not in the model's panel"),
        (["slides/a.png", "-o", "slides.h5ad/"], "--output is a folder, slides.h5ad/; it must be a file."),
        (["slides/a.png", "-o", "/proc/x.h5ad"], "/proc/x.h5ad cannot be written: "),
        (["slides/a.png", "-o", "/proc/x.csv"], "/proc/x.csv cannot be written: "),
        (["slides/a.png", "-o", "/proc/x"], "/proc/x cannot be written: "),
        (["slides/a.png", "-o", "slides/a.png/x.h5ad"], "there is a file where its folder has to be"),
        (["slides/a.png", "-o", f"{'x' * 300}.h5ad"], ".h5ad cannot be written: File name too long."),
        (["slides/a.png", "-o", "x.h5ad", "--figures", "/proc/x"], "/proc/x cannot be written: "),
        (["slides/a.png", "-o", "x", "--figures", "slides/a.png"], "slides/a.png cannot be written: "),
        (["slides/z.png", "-o", "x.h5ad", "--device", "foo"], "device='foo': there is no such device; choose 'auto'"),
        (["slides/a.png", "-o", "x", "--device", "mps"], "device='mps': there is no such device; choose 'auto'"),
        (["slides/a.png", "-o", "x", "--executor", "cloud"], "Unknown executor='cloud'. Choose one of: local, ray."),
    ],
)
def test_wrong_input(here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "model", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert {path.name for path in Path().iterdir()} == {"model", "slides"}


def test_a_picture_that_cannot_be_drawn_is_a_warning(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no\nink")

    monkeypatch.setattr(maps, "draw_prediction", broken)
    assert main(["predict", "model", "slides/a.png", "-o", "a.h5ad", "--figures", "f", "--pitch", "300"]) == 0
    assert anndata.read_h5ad("a.h5ad").n_vars == len(GENES)
    assert "The prediction of slides/a.png in f was not drawn: RuntimeError: no ink" in caplog.messages


def test_a_full_disk_is_one_line_and_the_former_prediction_stays(here: Path) -> None:
    with full_disk(here / "disk") as disk:
        for suffix in ("h5ad", "csv"):
            output = disk / f"a.{suffix}"
            output.write_text("former")
            command = [*COMMAND, "predict", "model", "slides/a.png", "-o", str(output), "--pitch", "12"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.returncode == 2
            assert f"hist2st predict: {output} cannot be written: " in ended.stderr.splitlines()[-1]
            assert "Traceback" not in ended.stderr
            assert "Exception ignored" not in ended.stderr
            assert output.read_text() == "former"
        assert {path.name for path in disk.iterdir()} == {"a.h5ad", "a.csv"}


def test_a_model_of_the_hub_is_taken_by_its_id(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the download lies is asked once a command; a path of that name on this machine wins."""
    asked = []

    def fetch(name: str, options: object) -> Path:
        asked.append(name)
        return here / "model"

    monkeypatch.setattr("hist2st_pyg.models.hub._fetch", fetch)
    options = ["--um_per_pixel", "3"]
    assert main(["predict", "lab/breast", "slides/a.png", "-o", "a.h5ad", *options]) == 0
    assert main(["predict", "lab/breast", "slides/a.png", "slides/b.png", "-o", "out", *options]) == 0
    assert (
        main(["explain", "lab/breast", "slides/a.png", "--gene", "GENE2", "--figures", "f", "--steps", "2", *options])
        == 0
    )
    assert main(["info", "lab/breast"]) == 0
    assert main(["evaluate", "lab/breast"]) == 2
    assert "There is no lab/breast/config.yaml, the configuration of a run" in capsys.readouterr().err
    assert asked == ["lab/breast"] * 5
    shutil.copytree("model", "lab/breast")
    assert main(["predict", "lab/breast", "slides/a.png", "-o", "b.h5ad", *options]) == 0
    assert asked == ["lab/breast"] * 5


def test_a_model_that_is_nowhere(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "nowhere", "slides/a.png", "-o", "a.h5ad"]) == 2
    told = "hist2st predict: There is no model at nowhere, and it is not an id owner/name on the hub. The packaged "
    assert capsys.readouterr().err.startswith(told)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        assert main(["predict", "runs/strat", "slides/a.png", "-o", "a.h5ad"]) == 2
    error = capsys.readouterr().err
    assert "There is no model at runs/strat. If it is an id on the hub: The Hugging Face hub needs" in error
    assert "pip install 'hist2st_pyg[hub]'" in error
