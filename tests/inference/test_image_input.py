"""An image as a model takes it: its resolution, spots or grid, and fields of view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from _helpers.sage_model import model

from hist2st_pyg import Section, predict
from hist2st_pyg.data import source


def test_the_image_s_resolution_sets_the_grid(cohort: list[Section]) -> None:
    image = cohort[0].require_image()  # the preprocessing's pitch is 192 µm
    for um_per_pixel, pixels in ((3.0, 64), (2.0, 96)):
        pos = predict(model(), image, um_per_pixel=um_per_pixel).obsm["spatial"]
        distance = np.linalg.norm(pos[:, None] - pos, axis=2)
        assert np.median(np.sort(distance, axis=1)[:, 1]) == pytest.approx(pixels)
    pos = predict(model(), image, um_per_pixel=2.0, pitch=80).obsm["spatial"]  # what is said goes first
    assert np.median(np.sort(np.linalg.norm(pos[:, None] - pos, axis=2), axis=1)[:, 1]) == pytest.approx(80)


def test_a_finer_grid_shows_the_same_fields_of_view(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    fields, cut = [], source.cut_patches

    def spy(image: Any, pos: Any, size: int, field: float | None, *rest: Any) -> Any:
        fields.append(field)
        return cut(image, pos, size, field, *rest)

    monkeypatch.setattr(source, "cut_patches", spy)
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
