"""An image as a model takes it: its resolution, spots or grid, and fields of view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from _helpers.sage_model import model

from hist2st_pyg import Section, predict
from hist2st_pyg.data import spot_patches
from hist2st_pyg.inference.image_input import check_layout, read_image


def test_the_image_s_resolution_sets_the_grid(cohort: list[Section]) -> None:
    image = cohort[0].require_image()  # the preprocessing's pitch is 192 µm
    for um_per_pixel, pixels in ((3.0, 64), (2.0, 96)):
        pos = predict(model(), image, um_per_pixel=um_per_pixel).obsm["spatial"]
        distance = np.linalg.norm(pos[:, None] - pos, axis=2)
        assert np.median(np.sort(distance, axis=1)[:, 1]) == pytest.approx(pixels)
    pos = predict(model(), image, um_per_pixel=2.0, pitch=80).obsm["spatial"]  # what is said goes first
    assert np.median(np.sort(np.linalg.norm(pos[:, None] - pos, axis=2), axis=1)[:, 1]) == pytest.approx(80)


def test_a_finer_grid_shows_the_same_fields_of_view(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    fields, cut = [], spot_patches.cut_patches

    def spy(image: Any, pos: Any, size: int, field: float | None, *rest: Any) -> Any:
        fields.append(field)
        return cut(image, pos, size, field, *rest)

    monkeypatch.setattr(spot_patches, "cut_patches", spy)
    sizes = [len(predict(model(patch_pitch=1.0), cohort[0].require_image(), pitch=pitch)) for pitch in (64, 32)]
    assert sizes[1] > 3 * sizes[0]
    predict(model(patch_pitch=1.0), cohort[0].require_image(), um_per_pixel=1.5, pitch=64)
    assert fields == [64.0, 64.0, 128.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pitch": 0}, "pitch must be 1 pixel or more, got 0"),
        ({"um_per_pixel": 0}, "um_per_pixel must be positive or None"),
        ({"um_per_pixel": -2.0}, "um_per_pixel must be positive or None"),
        pytest.param(
            {"device": "cuda"},
            "device='cuda': no CUDA device was found",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_impossible_options(cohort: list[Section], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(model(), cohort[0].require_image(), **options)


def test_it_is_what_the_model_s_preprocessing_makes_of_the_section(cohort: list[Section]) -> None:
    section, built = cohort[0], model(k=3, stain="macenko")
    assert built.preprocessing is not None
    found = read_image(built, section.require_image(), section.adata, name="A1")
    expected = built.preprocessing.input_data(section)
    assert torch.equal(found.patches(None), expected.x)
    for name in ("edge_index", "edge_attr", "pos", "grid"):
        assert torch.equal(found.graph[name], expected[name]), name
    assert found.layout.spots.names == list(section.adata.obs_names)
    assert (found.name, found.um_per_pixel, found.notes) == ("A1", section.require_image().um_per_pixel, [])


def test_a_file_names_its_image_and_what_is_said_goes_before_what_it_says(
    cohort: list[Section], tmp_path: Path
) -> None:
    section = cohort[0]
    tifffile.imwrite(
        tmp_path / "slide.tif", section.require_image().thumbnail(10_000), photometric="rgb",
        resolution=(1e4 / 6, 1e4 / 6), resolutionunit="CENTIMETER",
    )  # fmt: skip
    found = read_image(model(), tmp_path / "slide.tif", section.adata)
    assert (found.name, found.um_per_pixel) == ("slide", pytest.approx(6, rel=1e-4))
    # Of patches in pixels, trained at 3 µm.
    assert any("6 µm per pixel, the training images 3" in note for note in found.notes)
    told = read_image(model(), tmp_path / "slide.tif", section.adata, um_per_pixel=3.0)
    assert (told.um_per_pixel, told.notes) == (3.0, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pitch": 0.5}, "pitch must be 1 pixel or more, got 0.5"),
        ({"pitch": True}, "pitch must be 1 pixel or more, got True"),
        ({"pitch_um": float("nan")}, "pitch_um must be positive, got nan"),
        ({"pitch": 64.0, "pitch_um": 100.0}, "Set pitch or pitch_um, not both: got 64 px and 100 µm"),
        ({"pitch": 64.0, "spots_given": True}, "Set spots or pitch, not both"),
        ({"pitch_um": 100.0, "spots_given": True}, "Set spots or pitch, not both"),
        ({"um_per_pixel": float("inf")}, "um_per_pixel must be positive or None"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_without_an_image(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_layout(**{"spots_given": False, **options})
    check_layout(1, None, 0.1, spots_given=False)
