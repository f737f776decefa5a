from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import anndata
import numpy as np
import pytest
from _helpers.cohorts import SLIDES, names, outcomes, times
from _helpers.sage_model import GENES
from _helpers.sage_model import model as tiny

from hist2st_pyg import Section, load_model, predict
from hist2st_pyg.analysis.maps import draw_prediction
from hist2st_pyg.inference.cohort import CohortResult, SlideResult, predict_cohort
from hist2st_pyg.models import MODELS

MADE = ("A1", "A2", "B1", "broken")


def test_one_of_four_is_broken_and_is_tried_again(
    run: Callable[..., CohortResult], files: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    first = run(*MADE)
    assert outcomes(first) == {"A1": "done", "A2": "done", "B1": "done", "broken": "failed"}
    assert (
        first.slides[3].message
        == f"ValueError: {files / 'broken.png'} is damaged or not a JPEG or PNG image: image file is truncated"
    )
    assert f"broken failed: {first.slides[3].message}" in caplog.messages
    traceback = Path("out/broken.failed.txt").read_text()
    assert traceback.startswith("Traceback")
    assert first.slides[3].message in traceback
    outputs = {f"{name}.{end}" for name in SLIDES for end in ("h5ad", "json")}
    assert names() == outputs | {"broken.failed.txt", "logs"}
    for slide in first.slides[:3]:
        expected = predict(load_model(files / "model"), files / f"{slide.name}.png", um_per_pixel=3.0)
        written = anndata.read_h5ad(slide.output)
        assert slide.output == tmp_path / "out" / f"{slide.name}.h5ad"
        assert slide.spots == written.n_obs
        np.testing.assert_allclose(written.X, expected.X, rtol=1e-5)
        np.testing.assert_array_equal(written.obsm["spatial"], expected.obsm["spatial"])

    before = times()
    again = run(*MADE)
    assert outcomes(again) == {"A1": "skipped", "A2": "skipped", "B1": "skipped", "broken": "failed"}
    assert [slide.spots for slide in again.slides] == [slide.spots for slide in first.slides]
    after = times()
    assert before.pop("broken.failed.txt") < after.pop("broken.failed.txt")
    assert before == after

    (files / "mended").mkdir()
    shutil.copy(files / "A2.png", files / "mended" / "broken.png")
    mended = predict_cohort(files / "model", [files / "mended" / "broken.png"], "out", um_per_pixel=3.0)
    assert outcomes(mended) == {"broken": "done"}
    assert "broken.failed.txt" not in names()


def test_ray_does_the_same(run: Callable[..., CohortResult], files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its workers starve on a busy machine
    result = run("A1", "broken", executor="ray", jobs=1)
    assert outcomes(result) == {"A1": "done", "broken": "failed"}
    assert "is damaged or not a JPEG or PNG image: image file is truncated" in Path("out/broken.failed.txt").read_text()
    expected = predict(load_model(files / "model"), files / "A1.png", um_per_pixel=3.0)
    np.testing.assert_allclose(anndata.read_h5ad("out/A1.h5ad").X, expected.X, rtol=1e-5)
    assert outcomes(run("A1")) == {"A1": "skipped"}


def fatal_to_a2(adata: anndata.AnnData, folder: Path, genes: Sequence[str] | None) -> list[Path]:
    if "A2" in adata.uns["spatial"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_process_that_dies_takes_no_other_slide_with_it(run: Callable[..., CohortResult]) -> None:
    result = run(draw=fatal_to_a2)
    assert outcomes(result) == {"A1": "done", "A2": "failed", "B1": "done"}
    assert Path("out/A2.failed.txt").read_text() == "The process ended with status -9.\n"
    output = Path("out/A2.h5ad").stat().st_mtime_ns  # it was written before
    assert outcomes(run()) == {"A1": "skipped", "A2": "skipped", "B1": "skipped"}
    assert outcomes(run(draw=draw_prediction))["A2"] == "done"
    assert Path("out/A2.h5ad").stat().st_mtime_ns == output
    assert "A2.failed.txt" not in names()


def test_spots_of_many_slides_are_a_folder(run: Callable[..., CohortResult], cohort: list[Section]) -> None:
    Path("spots").mkdir()
    for section, end in zip(cohort, ("csv", "tsv", "csv"), strict=True):
        between = {"csv": ",", "tsv": "\t"}[end]
        rows = [between.join(map(str, row)) for row in (("x", "y"), *section.pos[: 5 + len(section.name + end)])]
        Path("spots", f"{section.name}.{end}").write_text("\n".join(rows))
    assert [slide.spots for slide in run(spots="spots").slides] == [10, 10, 10]
    np.testing.assert_allclose(anndata.read_h5ad("out/A2.h5ad").obsm["spatial"], cohort[1].pos[:10])
    with pytest.raises(ValueError, match=r"A1\.h5ad was made with .* \(spots\.bytes was \d+, is None\)"):
        run()
    shutil.rmtree("out")
    assert run("A1", spots="spots/A1.csv").slides[0].spots == 10
    with pytest.raises(ValueError, match=r"of 3 images must be a folder of <image>\.csv or \.h5ad; .*A1\.csv"):
        run(spots="spots/A1.csv")
    with pytest.raises(FileNotFoundError, match=r"There is no spot file or folder .*nowhere"):
        run(spots="nowhere")
    with pytest.raises(ValueError, match=r"one of broken\.csv, broken\.tsv, .* found none"):
        run(*MADE, spots="spots")
    Path("spots/A1.tsv").touch()
    with pytest.raises(ValueError, match=r"found A1\.csv and A1\.tsv"):
        run(spots="spots")


def test_wrong_input(run: Callable[..., CohortResult], files: Path, tmp_path: Path) -> None:
    shutil.copy(files / "A1.png", "A1.png")
    with pytest.raises(ValueError, match=r"Two slides have the same name 'A1': .*/A1\.png and .*/A1\.png\. Rename one"):
        predict_cohort(files / "model", [files / "A1.png", "A1.png"], "out")
    with pytest.raises(ValueError, match="images is empty"):
        predict_cohort(files / "model", [], "out")
    with pytest.raises(FileNotFoundError, match="no image file"):
        run("A1", "missing")
    with pytest.raises(FileNotFoundError, match=r"There is no model at .*nowhere"):
        predict_cohort("nowhere", ["A1.png"], "out")
    with pytest.raises(ValueError, match=r"must be a folder, but .*A1\.png is a file"):
        predict_cohort(files / "model", ["A1.png"], "A1.png")
    with pytest.raises(ValueError, match="'GENE9' is not in the model's panel of 6 genes"):
        run(genes=["GENE1", "GENE9"])
    with pytest.raises(TypeError, match="no option 'pitchh'; its options: pitch, pitch_um, um_per_pixel"):
        run(pitchh=3)
    with pytest.raises(ValueError, match="Set pitch or pitch_um, not both"):
        run(pitch=90.0, pitch_um=200.0)
    with pytest.raises(ValueError, match=r"Unknown executor='cloud'\. Choose one of: local, ray"):
        run(executor="cloud")
    with pytest.raises(ValueError, match=r"Unknown format='txt'\. Choose one of: csv, geojson, h5ad, zarr"):
        run(format="txt")
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        run(jobs=0)
    with pytest.raises(ValueError, match="needs the executor 'ray'"):
        run(gpus=1)
    bare = tiny()
    bare.preprocessing = None
    bare.save_pretrained("bare")
    with pytest.raises(ValueError, match="The model has no preprocessing"):
        predict_cohort("bare", ["A1.png"], "out")
    oracle = MODELS["depth_oracle"](n_genes=len(GENES))
    oracle.preprocessing = tiny().preprocessing
    oracle.save_pretrained("oracle")
    with pytest.raises(ValueError, match="reads measured counts"):
        predict_cohort("oracle", ["A1.png"], "out")
    assert not Path("out").exists()


def test_the_table() -> None:
    slides = (
        SlideResult("first", Path("first.h5ad"), "done", 1234, 12.345, "The image\nis large."),
        SlideResult("b", Path("b.h5ad"), "skipped", 7, 0.5),
        SlideResult("c", Path("c.h5ad"), "failed", message="ValueError: " + "much " * 99),
    )
    assert CohortResult(slides).table().splitlines() == [
        "slide  outcome  spots  seconds",
        "first  done      1234     12.3  The image is large.",
        "b      skipped      7      0.5",
        "c      failed                   ValueError: " + "much " * 37 + "...",
        "1 done, 1 skipped, 1 failed.",
    ]
