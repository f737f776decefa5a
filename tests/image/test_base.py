from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from _helpers.image_files import HEIGHT, WIDTH, picture, read, tissue
from PIL import Image

from hist2st_pyg.image import ArrayImage, HistologyImage, Region
from hist2st_pyg.image import base as module
from hist2st_pyg.image.base import downsamples


class Own(HistologyImage):
    """What a user writes at least: an image of one level."""

    size = (1234, 777)

    def __init__(self) -> None:
        self.array = tissue(*self.size)
        self.read: list[tuple[int, int, int, int]] = []

    def fingerprint(self) -> str:
        return "own"

    @contextmanager
    def open(self) -> Iterator[Region]:  # type: ignore[override]
        def region(x: int, y: int, width: int, height: int) -> np.ndarray:
            self.read.append((x, y, width, height))
            return self.array[y : y + height, x : x + width]

        yield region


class Pyramid(Own):
    level_downsamples = (1.0, 2.0, 4.0003, 16.0)


# Any image.


def test_size_and_regions(any_image: HistologyImage) -> None:
    assert any_image.size == (WIDTH, HEIGHT)
    with any_image.open() as region:
        for x, y, width, height in ((0, 0, WIDTH, HEIGHT), (250, 20, 40, 17), (299, 129, 1, 1)):
            pixels = region(x, y, width, height)
            assert pixels.shape == (height, width, 3)
            assert pixels.dtype == np.uint8
            np.testing.assert_allclose(pixels, picture()[y : y + height, x : x + width], atol=5)


def test_an_image_of_one_level(any_image: HistologyImage) -> None:
    assert any_image.level_downsamples == (1.0,)
    assert any_image.level_sizes == ((WIDTH, HEIGHT),)
    assert any_image.level_for(100) == 0
    assert any_image.um_per_pixel is None
    np.testing.assert_allclose(read(any_image, 0), picture(), atol=5)
    with pytest.raises(ValueError, match=r"Image\(.*\) has one level, 0, got level=1"), any_image.open(1):
        pass


@pytest.mark.parametrize("longest", [1024, 300, 100, 64])
def test_thumbnails(any_image: HistologyImage, longest: int) -> None:
    small = any_image.thumbnail(longest)
    height, width, _ = small.shape
    assert small.dtype == np.uint8
    # An upper bound: a TIFF is shrunk by a whole number.
    assert min(longest, WIDTH) / 2 < width <= longest
    assert height == pytest.approx(width * HEIGHT / WIDTH, abs=1)
    expected = np.asarray(Image.fromarray(picture()).resize((width, height), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - expected).max() <= 6  # the last row of blocks may be cut short


# An image of a user's own.


def test_what_an_image_has_by_default() -> None:
    own = Own()
    assert (own.um_per_pixel, own.level_downsamples, own.level_sizes) == (None, (1.0,), ((1234, 777),))
    assert own.tile_size() == (256, 256)
    assert own.block_size() == (4096, 4096)
    assert Pyramid().level_sizes == ((1234, 777), (617, 388), (308, 194), (77, 49))


def test_the_level_for_a_resolution_is_the_coarsest_that_is_fine_enough() -> None:
    wanted = {0.1: 0, 1: 0, 1.97: 0, 1.99: 1, 2: 1, 3.9: 1, 4: 2, 15.8: 2, 16: 3, 1000: 3}
    assert {factor: Pyramid().level_for(factor) for factor in wanted} == wanted


@pytest.mark.parametrize("longest", [100, 617, 1234])
def test_a_thumbnail_is_made_of_blocks(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    own = Own()
    monkeypatch.setattr(module, "BLOCK_PIXELS", 300)
    small = own.thumbnail(longest)
    np.testing.assert_array_equal(small, np.asarray(Image.fromarray(own.array).reduce(-(-1234 // longest))))
    assert max(max(width, height) for _, _, width, height in own.read) <= 312  # whole pixels of the result
    assert sum(width * height for _, _, width, height in own.read) == 1234 * 777


def test_a_thumbnail_of_strips_reads_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_PIXELS", 300)
    monkeypatch.setattr(Own, "tile_size", lambda self, level=0: (1234, 16))
    own = Own()
    assert own.thumbnail(400).shape == (195, 309, 3)
    assert {(x, width) for x, _, width, _ in own.read} == {(0, 1234)}
    assert len(own.read) == 6  # 2 · 300² pixels are 148 rows, whole ones of the result


# Levels.


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (((3001, 2003),), (1.0,)),
        (((3001, 2003), (1500, 1001), (750, 500), (187, 125), (46, 31)), (1, 2, 4, 16, 64)),  # rounded down each time
        (((3001, 2003), (1501, 1002), (751, 501)), (1, 2, 4)),  # rounded up
        (((1000, 500), (400, 200)), (1, 2.5)),
        (((1000, 500), (400, 200), (133, 66)), (1, 2.5, 7.5)),
    ],
)
def test_rounded_sizes_have_whole_downsamples(sizes: tuple[tuple[int, int], ...], expected: tuple[float, ...]) -> None:
    assert downsamples(sizes) == expected


def test_an_array_says_its_size() -> None:
    assert repr(ArrayImage(picture())) == "ArrayImage(300 x 130 px)"
