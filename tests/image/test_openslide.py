from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _helpers.image_files import pyramid, read, tissue, write_slide
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg.image import OpenSlideImage, open_image
from hist2st_pyg.image import openslide as module

openslide = pytest.importorskip("openslide", reason="the slides extra is not installed")

WIDTH, HEIGHT = 2600, 1400


@pytest.fixture(scope="module")
def levels() -> list[NDArray[np.uint8]]:
    return pyramid(tissue(WIDTH, HEIGHT), (1, 4, 16))


@pytest.fixture(scope="module")
def slide(levels: list[NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "slide.svs"
    write_slide(path, levels)
    return path


def test_a_slide_has_levels_and_a_resolution(slide: Path) -> None:
    assert openslide.OpenSlide.detect_format(slide) == "aperio"
    image = open_image(slide)
    assert isinstance(image, OpenSlideImage)
    assert image.size == (WIDTH, HEIGHT)
    assert image.level_sizes == ((2600, 1400), (650, 350), (162, 87))
    assert image.level_downsamples == (1.0, 4.0, 16.0)
    assert image.um_per_pixel == 0.499
    assert image.tile_size(2) == (256, 256)
    assert repr(image).startswith("OpenSlideImage('")


def test_pixels_are_those_that_were_written(slide: Path, levels: list[NDArray[np.uint8]]) -> None:
    image = open_image(slide)
    # 162 x 87 pixels are not a sixteenth of the slide to the pixel, and OpenSlide interpolates in that level.
    for level, tolerance in ((0, 0), (1, 0), (2, 12)):
        whole, pixels = read(image, level).astype(int), levels[level]
        assert whole.shape == pixels.shape
        assert np.abs(whole - pixels)[:-1, :-1].max() <= tolerance
    for level, (x, y, width, height) in ((0, (1013, 1020, 1300, 37)), (1, (33, 21, 401, 300))):
        with image.open(level) as region:
            np.testing.assert_array_equal(region(x, y, width, height), levels[level][y : y + height, x : x + width])
    with pytest.raises(ValueError, match=r"has the levels 0 to 2, got level=-1"), image.open(-1):
        pass


def test_a_pixel_is_the_same_in_every_region(tmp_path: Path) -> None:
    # The factors are no whole numbers: 3001 / 750, 2003 / 500.
    write_slide(tmp_path / "odd.svs", pyramid(tissue(3001, 2003), (1, 4)))
    image = open_image(tmp_path / "odd.svs")
    with openslide.OpenSlide(tmp_path / "odd.svs") as slide:
        assert not float(slide.level_downsamples[1]).is_integer()
    assert image.level_downsamples == (1.0, 4.0)
    whole, random = read(image, 1), np.random.default_rng(0)
    with image.open(1) as region:
        for _ in range(60):
            x, y = (int(random.integers(side - 1)) for side in (750, 500))
            width, height = int(random.integers(1, 751 - x)), int(random.integers(1, 501 - y))
            np.testing.assert_array_equal(region(x, y, width, height), whole[y : y + height, x : x + width])


def test_thumbnails(slide: Path, levels: list[NDArray[np.uint8]]) -> None:
    image = open_image(slide)
    np.testing.assert_array_equal(image.thumbnail(650), levels[1])
    np.testing.assert_array_equal(image.thumbnail(325), np.asarray(Image.fromarray(levels[1]).reduce(2)))
    assert image.thumbnail().shape == (467, 867, 3)


def test_a_generic_tiled_tiff_reads_as_tifffile_reads_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"compression": "jpeg", "compressionargs": {"level": 95}}
    write_slide(tmp_path / "slide.tif", [tissue(700, 500)], **options)
    through_openslide, through_tifffile = OpenSlideImage(tmp_path / "slide.tif"), open_image(tmp_path / "slide.tif")
    np.testing.assert_allclose(read(through_openslide), read(through_tifffile), atol=2)
    assert through_openslide.um_per_pixel == through_tifffile.um_per_pixel == 0.499


def test_what_was_not_scanned_is_white() -> None:
    rgba = np.zeros((4, 3, 4), np.uint8)
    rgba[:2] = (10, 20, 30, 255)
    rgba[2] = (10, 20, 30, 51)
    white = module._on_white(Image.fromarray(rgba, "RGBA"))
    assert white[:, 0].tolist() == [[10, 20, 30], [10, 20, 30], [206, 208, 210], [255, 255, 255]]
    opaque = Image.fromarray(rgba[:2], "RGBA")
    np.testing.assert_array_equal(module._on_white(opaque), rgba[:2, :, :3])


def test_pixels_that_are_not_square(
    slide: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}
    monkeypatch.setattr(openslide.OpenSlide, "properties", known)
    assert open_image(slide).um_per_pixel is None
    assert "slide.svs are not square (0.25 x 0.5 µm)" in caplog.text
    del known["openslide.mpp-y"]
    assert open_image(slide).um_per_pixel is None
    assert open_image(slide).tile_size() == (256, 256)


def test_the_fingerprint_is_of_the_content_and_what_belongs_to_it(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copy.svs").write_bytes(slide.read_bytes())
    write_slide(tmp_path / "other.svs", [tissue(WIDTH, HEIGHT, seed=1)])
    first = open_image(slide).fingerprint()
    assert first == open_image(tmp_path / "copy.svs").fingerprint() != open_image(tmp_path / "other.svs").fingerprint()
    # A MIRAX slide's own file stays the same where its folder changes; the quick hash does not.
    monkeypatch.setattr(openslide.OpenSlide, "properties", {"openslide.quickhash-1": "another"})
    assert open_image(slide).fingerprint() != first


def test_a_file_that_is_no_slide_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_bytes(b"this is text, not a slide" * 10)
    with pytest.raises(ValueError, match=r"text\.svs is damaged or not a slide that OpenSlide can read"):
        _ = open_image(tmp_path / "text.svs").size
    with pytest.raises(FileNotFoundError, match=r"There is no image file .*absent\.ndpi"):
        open_image(tmp_path / "absent.ndpi")


def test_a_damaged_slide_is_refused(slide: Path, tmp_path: Path) -> None:
    content = bytearray(slide.read_bytes())
    content[2000 : len(content) // 4] = bytes(len(content) // 4 - 2000)
    (tmp_path / "damaged.svs").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.svs is damaged or not a slide"):
        read(open_image(tmp_path / "damaged.svs"))


def test_a_missing_extra_is_named(slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(ImportError, match=r"slide\.svs needs OpenSlide .*: pip install 'hist2st_pyg\[slides\]'"):
        _ = open_image(slide).size
