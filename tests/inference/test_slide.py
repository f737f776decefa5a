"""One slide of a cohort: when its prediction is made, kept, drawn again or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from _helpers.cohorts import SLIDES, names, outcomes, times
from _helpers.sage_model import model as tiny
from PIL import Image

from hist2st_pyg.analysis.maps import draw_prediction
from hist2st_pyg.inference.cohort import CohortResult, predict_cohort


def test_what_was_interrupted_is_made_again(run: Callable[..., CohortResult]) -> None:
    run("A1")
    state = json.loads(Path("out/A1.json").read_text())
    whole = anndata.read_h5ad("out/A1.h5ad").X
    del state["result"]  # so it is from the start to the end of a prediction
    Path("out/A1.json").write_text(json.dumps(state))
    Path("out/A1.h5ad").write_bytes(b"half")
    assert outcomes(run("A1")) == {"A1": "done"}
    np.testing.assert_array_equal(anndata.read_h5ad("out/A1.h5ad").X, whole)
    Path("out/A1.h5ad").unlink()
    assert outcomes(run("A1")) == {"A1": "done"}


def test_pictures_are_drawn_once_and_others_from_the_output(run: Callable[..., CohortResult]) -> None:
    assert outcomes(run("A1", draw=draw_prediction)) == {"A1": "done"}
    assert names("out/figures") == {"A1_predicted.png", "A1_tissue.png"}
    output, first = Path("out/A1.h5ad").stat().st_mtime_ns, Path("out/figures/A1_predicted.png").read_bytes()
    assert outcomes(run("A1", draw=draw_prediction)) == {"A1": "skipped"}
    assert outcomes(run("A1", draw=draw_prediction, genes=["GENE2"])) == {"A1": "done"}
    assert Path("out/figures/A1_predicted.png").read_bytes() != first
    assert outcomes(run("A1", draw=draw_prediction, genes=["GENE2"], figures="maps")) == {"A1": "done"}
    assert names("maps") == names("out/figures")
    assert Path("out/A1.h5ad").stat().st_mtime_ns == output
    assert outcomes(run("A1")) == {"A1": "skipped"}


def test_a_model_whose_values_are_not_finite_writes_nothing(files: Path, run: Callable[..., CohortResult]) -> None:
    model = tiny()
    model.pixel_std.fill_(1e-45)  # finite and above 0, as in every model that is saved
    model.save_pretrained("damaged")
    result = predict_cohort("damaged", [files / "A1.png", files / "A2.png"], "out", um_per_pixel=3.0)
    assert outcomes(result) == {"A1": "failed", "A2": "failed"}
    assert "from the model Hist2ST are not finite" in result.slides[0].message
    assert names() == {"A1.failed.txt", "A2.failed.txt", "logs"}


def test_another_configuration_is_refused_before_any_work(run: Callable[..., CohortResult], files: Path) -> None:
    run("A1", "A2")
    before = times()
    with pytest.raises(ValueError, match=r"A1\.h5ad was made with .* \(options\.pitch was None, is 90\.0\); remove"):
        run(pitch=90.0)
    other = tiny()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    other.save_pretrained("model")
    images = [files / f"{name}.png" for name in SLIDES]
    with pytest.raises(ValueError, match=r"\(model\.fingerprint was "):
        predict_cohort("model", images, "out", um_per_pixel=3.0)
    Image.open(files / "A1.png").transpose(Image.Transpose.ROTATE_180).save("A1.png")
    with pytest.raises(ValueError, match=r"\(image\.(bytes|mtime_ns) was "):
        predict_cohort(files / "model", ["A1.png"], "out", um_per_pixel=3.0)
    assert times() == before
    # What is as it was stays, also then.
    Path("out/A2.json").rename("A2.json")
    with pytest.raises(ValueError, match=r"A2\.h5ad exists, but A2\.json"):
        run()
    assert outcomes(run(overwrite=True)) == {"A1": "skipped", "A2": "done", "B1": "done"}


def test_what_changes_no_prediction_is_no_other_configuration(
    run: Callable[..., CohortResult], files: Path, tmp_path: Path
) -> None:
    run("A1")
    assert outcomes(run("A1", device="cpu", pitch=None, jobs=2)) == {"A1": "skipped"}
    shutil.copytree(files / "model", "moved/model")
    shutil.copy2(files / "A1.png", "moved/A1.png")
    assert outcomes(predict_cohort("moved", ["moved/A1.png"], "out", um_per_pixel=3)) == {"A1": "skipped"}


def test_files_of_others_are_not_replaced(run: Callable[..., CohortResult]) -> None:
    Path("out").mkdir()
    Path("out/A1.h5ad").write_bytes(b"measured")
    with pytest.raises(
        ValueError, match=r"A1\.h5ad exists, but A1\.json, which records its configuration, does not; remove"
    ):
        run("A1")
    for text in ('{"type": "FeatureCollection"}', "no JSON", "[1]"):
        Path("out/A1.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"A1\.json was not written by a cohort's prediction and will not be replaced"
        ):
            run("A1", overwrite=True)
    assert Path("out/A1.h5ad").read_bytes() == b"measured"
