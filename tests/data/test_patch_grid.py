from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from _helpers.image_files import pyramid, tissue, write_slide
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg.data import cut_patches, patch_grid
from hist2st_pyg.image import ArrayImage, HistologyImage, Region, open_image
from hist2st_pyg.image import base as image_base
from hist2st_pyg.image.base import downsamples

# Pyramids.


class Levels(ArrayImage):
    """A pyramid in memory that counts what is read of it."""

    def __init__(self, levels: list[NDArray[np.uint8]], tile: tuple[int, int] = (256, 256)) -> None:
        super().__init__(levels[0])
        self.levels, self.tile, self.read = levels, tile, Counter[int]()

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        return downsamples([level.shape[1::-1] for level in self.levels])

    def tile_size(self, level: int = 0) -> tuple[int, int]:
        return self.tile

    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        def region(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
            assert min(x, y) >= 0
            assert (x + width, y + height) <= self.level_sizes[level]
            self.read[level] += width * height
            return self.levels[level][y : y + height, x : x + width]

        yield region


def scattered(n: int, width: int, height: int) -> NDArray[np.float64]:
    """Spots all over an image, its corners among them."""
    corners = [[0, 0], [width - 0.01, height - 0.01], [width - 0.01, 0], [0, height - 0.01]]
    return np.vstack([np.random.default_rng(0).uniform(size=(n - 4, 2)) * [width, height], corners])


def test_a_field_is_read_from_the_coarsest_level_that_is_fine_enough() -> None:
    levels = pyramid(tissue(800, 640), (1, 2, 8))
    pos = np.array([[400.0, 320.0], [83.0, 41.0]])
    for field, level in ((28, 0), (54, 0), (56, 1), (220, 1), (224, 2), (500, 2)):
        image = Levels(levels)
        patches = cut_patches(image, pos, 28, field=field)
        assert set(image.read) == {level}
        factor = (1, 2, 8)[level]
        # It is the patch of that level as an image of its own.
        expected = cut_patches(ArrayImage(levels[level]), np.rint(pos / factor), 28, field=round(field / factor))
        np.testing.assert_array_equal(patches, expected)


def test_each_scale_has_a_level_of_its_own() -> None:
    image = Levels(pyramid(tissue(800, 640), (1, 2, 8)))
    pos = scattered(40, 800, 640)
    patches = cut_patches(image, pos, 28, scales=(2.0, 8.0, 1.0))
    assert set(image.read) == {0, 1, 2}
    for s, field in enumerate((56, 224, 28)):
        np.testing.assert_array_equal(patches[:, 3 * s : 3 * s + 3], cut_patches(image, pos, 28, field=field))


@pytest.mark.parametrize("field", [56, 150.0, 224, 300])
def test_a_pyramid_shows_what_the_full_resolution_shows(field: float) -> None:
    levels = pyramid(tissue(801, 643), (1, 2, 8))
    pos = scattered(60, 801, 643)
    got = cut_patches(Levels(levels), pos, 28, field=field).astype(int)

    def difference(shift: float) -> float:
        """From the full resolution, where it is taken some pixels of the patch to the right and down."""
        there = (pos + shift * field / 28).clip(0, [800, 642])
        return float(np.abs(got - cut_patches(ArrayImage(levels[0]), there, 28, field=field)).mean())

    # Places are rounded to the nearest pixel of the level, so they are right on average.
    assert difference(0) < 0.8 * min(difference(-0.5), difference(0.5))


def test_the_cache_knows_the_levels(tmp_path: Path) -> None:
    levels = pyramid(tissue(800, 640), (1, 2, 8))
    pos = scattered(20, 800, 640)
    images: list[HistologyImage] = [ArrayImage(levels[0]), Levels(levels[:2]), Levels(levels)]
    for number, image in enumerate(images, 1):
        got = cut_patches(image, pos, 28, field=224, cache=tmp_path)
        np.testing.assert_array_equal(got, cut_patches(image, pos, 28, field=224))
        assert len(list(tmp_path.iterdir())) == number
    # In level 0 they are the same patches, and the same file.
    for image in images:
        cut_patches(image, pos, 28, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


# Averages.


def test_a_wide_field_is_cut_out_of_averages() -> None:
    image, pos = ArrayImage(tissue(801, 643)), scattered(30, 801, 643)
    small = np.asarray(Image.fromarray(tissue(801, 643)).reduce(4))  # Pillow's own, of the whole image
    assert small.shape == (161, 201, 3)
    for field, averaged in ((127, False), (128, True), (150, True)):
        patches = cut_patches(image, pos, 8, field=field)
        side = round(field / 4)
        at = np.rint((np.floor(pos) + 0.5 * (side % 2)) / 4 - 0.5 * (side % 2))
        expected = cut_patches(ArrayImage(small), at.clip(0, [200, 160]), 8, field=side)
        assert np.array_equal(patches, expected) == averaged


@pytest.mark.parametrize("field", [128, 150, 300.0])
def test_averages_show_what_the_pixels_show(field: float, monkeypatch: pytest.MonkeyPatch) -> None:
    image, pos = ArrayImage(tissue(801, 643)), scattered(200, 801, 643)
    got = cut_patches(image, pos, 8, field=field).astype(int)
    monkeypatch.setattr(patch_grid, "WIDE", 10**6)

    def difference(shift: float) -> float:
        """From the pixels, where the field is taken some pixels of the patch to the right and down."""
        there = (pos + shift * field / 8).clip(0, [800, 642])
        return float(np.abs(got - cut_patches(image, there, 8, field=field)).mean())

    assert difference(0) < 0.3 * min(difference(-0.5), difference(0.5))
    expected = cut_patches(image, pos, 8, field=field)
    np.testing.assert_allclose(got.mean((2, 3)), expected.mean((2, 3)), atol=4)


def test_a_wide_field_is_read_about_once() -> None:
    image = Levels([tissue(1200, 800)])
    cut_patches(image, scattered(500, 1200, 800), 8, field=256)
    assert image.read[0] == 1200 * 800


# Blocks.


@pytest.mark.parametrize("block", [64, 300])
@pytest.mark.parametrize("limit", [1, 20_000, 2**26])
@pytest.mark.parametrize("tile", [(1, 1), (16, 16), (800, 5)])
def test_blocks_give_the_same_patches(
    monkeypatch: pytest.MonkeyPatch, block: int, limit: int, tile: tuple[int, int]
) -> None:
    levels = pyramid(tissue(800, 640), (1, 2))
    pos = scattered(150, 800, 640)
    options: dict[str, Any] = {"patch_size": 8, "field": 33.0, "scales": (1.0, 2.5, 8.0, 9.1)}  # two are averaged
    expected = cut_patches(ArrayImage(levels[0]), pos, **options)
    monkeypatch.setattr(image_base, "BLOCK_PIXELS", block)
    monkeypatch.setattr(patch_grid, "BLOCK_PIXELS", limit)
    image = Levels(levels[:1], tile)
    np.testing.assert_array_equal(cut_patches(image, pos, **options), expected)
    # Whichever spots are asked for, a patch is the same.
    some = np.random.default_rng(1).permutation(150)[:70]
    image = Levels(levels, tile)
    np.testing.assert_array_equal(cut_patches(image, pos[some], **options), cut_patches(image, pos, **options)[some])


def test_spots_that_lie_together_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_base, "BLOCK_PIXELS", 400)
    image = Levels([tissue(1200, 800)])
    cut_patches(image, scattered(2000, 1200, 800), 40)
    # Six blocks and their margins; one by one it would be three times the image.
    assert 1200 * 800 < image.read[0] < 1.3 * 1200 * 800


def test_spots_that_lie_apart_are_read_by_themselves() -> None:
    image = Levels([tissue(1200, 800)])
    cut_patches(image, np.array([[100.0, 100.0], [1100.0, 700.0]]), 40)
    assert image.read[0] == 2 * 41 * 41
    # In strips as wide as the image both cost nearly all of it.
    image = Levels([tissue(1200, 800)], tile=(1200, 700))
    cut_patches(image, np.array([[100.0, 100.0], [1100.0, 700.0]]), 40)
    assert image.read[0] > 1000 * 600


def test_memory_is_bounded_by_a_block(tmp_path: Path) -> None:
    tile = imagecodecs.jpeg_encode(tissue(256, 256), level=70)
    shape: dict[str, Any] = {"shape": (10_240, 10_240, 3), "dtype": np.uint8, "tile": (256, 256)}
    with tifffile.TiffWriter(tmp_path / "large.tif") as tif:
        tif.write((tile for _ in range(1600)), photometric="rgb", compression="jpeg", **shape)
    image = open_image(tmp_path / "large.tif")
    assert image.size == (10_240, 10_240)
    tracemalloc.start()
    patches = cut_patches(image, scattered(2000, 10_240, 10_240), 32, field=320)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A block of 4096 pixels with its margins is 56 MB; the image is 315 MB.
    assert 50e6 < peak - patches.nbytes < 90e6


@pytest.mark.parametrize("suffix", [".svs", ".tif"])
def test_slides(tmp_path: Path, suffix: str) -> None:
    if suffix == ".svs":
        pytest.importorskip("openslide", reason="the slides extra is not installed")
    levels = pyramid(tissue(2600, 1400), (1, 4))
    write_slide(tmp_path / f"slide{suffix}", levels)
    image = open_image(tmp_path / f"slide{suffix}")
    pos = scattered(60, 2600, 1400)
    expected = cut_patches(Levels(levels), pos, 28, scales=(1.0, 4.0, 6.0))
    np.testing.assert_array_equal(cut_patches(image, pos, 28, scales=(1.0, 4.0, 6.0)), expected)
