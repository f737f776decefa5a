"""The made slide, and the cost of predicting it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import slide
from benchmarks.made_slide import TILE, make_slide
from hist2st_pyg.image import open_image
from hist2st_pyg.image.tissue import tissue_mask


def test_the_slide_is_a_pyramid_of_tissue_on_glass(tmp_path: Path) -> None:
    size = 5 * TILE + 100
    share = make_slide(tmp_path / "slide.tif", size, um_per_pixel=0.5, seed=3)
    image = open_image(tmp_path / "slide.tif")
    assert image.size == (size, size)
    assert image.level_downsamples == (1, 2)
    assert image.um_per_pixel == pytest.approx(0.5)
    thumbnail = image.thumbnail(1024)
    assert 0.1 < share < 0.7
    assert tissue_mask(thumbnail).mean() == pytest.approx(share, abs=0.06)
    assert thumbnail[-3:, -3:].min() > 225  # glass in the corner
    with image.open(0) as region, image.open(1) as smaller:
        wide = region(0, 0, 2048, 2048).reshape(1024, 2, 1024, 2, 3).mean((1, 3))
        assert np.abs(smaller(0, 0, 1024, 1024) - wide).mean() < 4
    assert (tmp_path / "slide.tif").stat().st_size < size**2 / 4


def test_the_seed_makes_the_slide(tmp_path: Path) -> None:
    pictures = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_slide(tmp_path / f"{name}.tif", 2048, seed=seed)
        pictures.append(open_image(tmp_path / f"{name}.tif").thumbnail(256))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


def test_a_slide_is_predicted_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--size", "4096", "--genes", "5", "--block", "30", "--results", str(tmp_path / "results")]
    assert slide.main(arguments) == 0
    path = tmp_path / "results" / "4096.json"
    assert str(path) in capsys.readouterr().out
    result = json.loads(path.read_text())
    # A spot for each hexagon of 400 px pitch on the tissue.
    assert result["spots"] == pytest.approx(result["tissue_share"] * 4096**2 / (400**2 * 3**0.5 / 2), rel=0.4)
    assert result["spots"] > 30
    assert result["patches"] == 3 * result["spots"]  # fields of view
    larger = max(result["seconds_reading_alone"], result["seconds_model_alone"])
    assert result["over_larger_bound"] == pytest.approx(result["seconds"] / larger)
    assert result["patches_per_second"] == pytest.approx(result["patches"] / result["seconds"])
    assert 100 < result["peak_mb_before"] <= result["peak_mb"] < 2000
    assert result["peak_share_of_decoded"] == pytest.approx(result["peak_mb"] * 1e6 / (3 * 4096**2))
    assert result["note"] is None or "color" in result["note"]
    assert not list(tmp_path.glob("slide*"))


def test_what_was_made_may_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(command: list[str], **options: object) -> None:
        assert slide.main(command[3:]) == 0

    monkeypatch.setattr(slide.subprocess, "run", in_this_process)
    monkeypatch.setattr(slide, "versions", dict)
    work = tmp_path / "work"
    assert slide.main(["--size", "2048", "--genes", "3", "--output", str(work), "--results", str(tmp_path)]) == 0
    assert {"slide.tif", "model", "predicted.h5ad", "measured.json"} == {path.name for path in work.iterdir()}


def test_a_slide_without_room_for_tissue_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert slide.main(["--size", "1000"]) == 2
    assert "size must be 2048 pixels or more, got 1000" in capsys.readouterr().err
