from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.spatial import cKDTree

from hist2st_pyg import Preprocessing, Section, predict
from hist2st_pyg.inference.hexagonal import interleaved
from hist2st_pyg.inference.layout import GIVEN_SPOTS, LAID_GRID, given_layout, grid_layout, lay_grid
from hist2st_pyg.io.spots import Spots
from hist2st_pyg.models import MODELS, ExpressionModel

GENES = ("GENE1", "GENE2")
UNKNOWN = "resolution of this image or of the training images is unknown"


def model(name: str = "graph_only", **preprocessing: Any) -> ExpressionModel:
    torch.manual_seed(0)
    built = MODELS[name](2, patch_size=14)
    fields = {"patch_pitch": 1.0, "k": 6, "pitch": 64.0, "um_per_pixel": 3.0, **preprocessing}
    built.preprocessing = Preprocessing(GENES, patch_size=14, **fields)  # type: ignore[arg-type]
    return built.eval()


def pitch_of(pos: Any) -> float:
    return float(np.median(cKDTree(pos).query(pos, k=2)[0][:, 1]))


def test_the_pitch_may_be_in_micrometers(cohort: list[Section]) -> None:
    image = cohort[0].require_image()
    for um_per_pixel, pixels in ((3.0, 50.0), (1.5, 100.0)):
        out = predict(model(), image, pitch_um=150.0, um_per_pixel=um_per_pixel)
        assert pitch_of(out.obsm["spatial"]) == pytest.approx(pixels)
        assert out.uns["hist2st"]["pitch"] == pytest.approx(pixels)


def test_the_pitch_is_given_once_and_only_where_it_means_something(cohort: list[Section]) -> None:
    image = cohort[0].require_image()
    with pytest.raises(ValueError, match="Set pitch or pitch_um, not both: got 64 px and 200 µm"):
        predict(model(), image, pitch=64, pitch_um=200, um_per_pixel=3.0)
    with pytest.raises(ValueError, match="pitch_um=200 needs the image's um_per_pixel"):
        predict(model(), image, pitch_um=200)
    with pytest.raises(ValueError, match="set pitch in pixels"):
        predict(model(pitch=None), image)
    spots = Spots(["a"], np.array([[100.0, 100.0]]), np.zeros((1, 2), dtype=int))
    with pytest.raises(ValueError, match="Set spots or pitch, not both"):
        predict(model(), image, spots, pitch=64)
    with pytest.raises(ValueError, match=r"pitch_um must be positive, got 0\.0"):
        predict(model(), image, pitch_um=0.0, um_per_pixel=3.0)
    with pytest.raises(ValueError, match=r"pitch must be 1 pixel or more, got 0\.5"):
        predict(model(), image, pitch_um=1.5, um_per_pixel=3.0)


def test_the_file_says_its_resolution(cohort: list[Section], tmp_path: Path) -> None:
    pixels = cohort[0].require_image().array  # type: ignore[attr-defined]
    tifffile.imwrite(
        tmp_path / "slide.tif", pixels, photometric="rgb", resolution=(1e4 / 1.5, 1e4 / 1.5), resolutionunit=3
    )
    out = predict(model(), tmp_path / "slide.tif")
    assert out.uns["hist2st"]["um_per_pixel"] == pytest.approx(1.5)
    assert pitch_of(out.obsm["spatial"]) == pytest.approx(128)
    assert "note" not in out.uns["hist2st"]
    out = predict(model(), tmp_path / "slide.tif", um_per_pixel=3.0)  # what is said goes first
    assert out.uns["hist2st"]["um_per_pixel"] == 3.0
    assert pitch_of(out.obsm["spatial"]) == pytest.approx(64)


def test_an_unknown_resolution_is_noted(cohort: list[Section], caplog: pytest.LogCaptureFixture) -> None:
    image = cohort[0].require_image()
    for built, options in ((model(), {}), (model(um_per_pixel=None), {"um_per_pixel": 3.0}), (model(), {"pitch": 64})):
        caplog.clear()
        out = predict(built, image, name="A1", **options)
        assert UNKNOWN in out.uns["hist2st"]["note"]
        assert "64.0 px apart" in out.uns["hist2st"]["note"]
        assert [message for message in caplog.messages if UNKNOWN in message and message.startswith("A1: ")]
    assert "note" not in predict(built, image, um_per_pixel=3.0, pitch=64).uns["hist2st"]
    # Patches that are cut by the spots' own distance need no resolution.
    spots = lay_grid(image, 64.0)
    assert "note" not in predict(built, image, spots).uns["hist2st"]


def test_spots_that_are_given_are_compared_with_those_of_training(cohort: list[Section]) -> None:
    image, preprocessing = cohort[0].require_image(), model().preprocessing
    assert preprocessing is not None
    spots = lay_grid(image, 64.0)
    layout = given_layout(spots, preprocessing, 3.0)
    assert (layout.notes, layout.positions, layout.arrays) == ([], GIVEN_SPOTS, None)
    np.testing.assert_array_equal(layout.places, spots.grid)
    (note,) = given_layout(spots, preprocessing, 1.5).notes
    assert "64 px apart; the training spots were 128 px apart" in note
    assert given_layout(spots, preprocessing, None).notes == []
    alone = Spots(["a"], np.array([[9.0, 9.0]]), np.array([[0, 0]]))
    assert given_layout(alone, preprocessing, 3.0).notes == []


@pytest.mark.parametrize(("pitch", "factor"), [(32.0, 2), (21.0, 3), (64.0, 1), (50.0, 1), (128.0, 0)])
def test_a_finer_grid_is_several_of_about_the_training_pitch(cohort: list[Section], pitch: float, factor: int) -> None:
    preprocessing = model().preprocessing
    assert preprocessing is not None
    layout = grid_layout(cohort[0].require_image(), preprocessing, 3.0, pitch)
    assert layout.positions == LAID_GRID
    assert layout.thumbnail is not None
    if factor < 2:
        assert layout.arrays is None
        np.testing.assert_array_equal(layout.places, layout.spots.grid)
    else:
        assert layout.arrays is not None
        assert len(layout.arrays) == factor**2
        assert [pitch_of(layout.spots.pos[array]) for array in layout.arrays] == pytest.approx(
            [factor * pitch] * factor**2
        )
    (note,) = layout.notes or [""]
    assert ("interpolated" in note) == (pitch < 60)
    assert ("farther away" in note) == (pitch > 70)


@pytest.mark.parametrize("block", [1024, 40])
@pytest.mark.parametrize("name", ["graph_only", "ridge_neighbors", "ridge"])
def test_a_finer_pitch_adds_spots_and_leaves_the_others_as_they_are(
    cohort: list[Section], name: str, block: int
) -> None:
    image, built = cohort[0].require_image(), model(name)
    dense = predict(built, image, um_per_pixel=3.0, pitch=64 / 3, block=block)
    assert "the additional values are interpolated" in dense.uns["hist2st"]["note"]
    arrays, _ = interleaved(dense.obsm["spatial"], 64 / 3, 3)
    for array in arrays[::4]:
        spots = Spots([f"s{i}" for i in array], dense.obsm["spatial"][array], np.zeros((len(array), 2), dtype=int))
        alone = predict(built, image, spots, um_per_pixel=3.0)
        np.testing.assert_allclose(dense.X[array], alone.X, atol=1e-5)


def test_the_tissue_is_looked_for_on_one_thumbnail(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    image, made = cohort[0].require_image(), list[int]()
    thumbnail = type(image).thumbnail

    def spy(self: Any, longest: int = 1024) -> Any:
        made.append(longest)
        return thumbnail(self, longest)

    monkeypatch.setattr(type(image), "thumbnail", spy)
    predict(model(), image)
    assert made == [1024]


@pytest.mark.parametrize("name", ["position_knn", "depth_oracle"])
def test_an_image_has_no_counts_to_read(cohort: list[Section], name: str) -> None:
    built = MODELS[name](2)
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=64.0)
    with pytest.raises(ValueError, match=r"reads measured counts \((interpolation|diagnostic)\)"):
        predict(built, cohort[0].require_image())
