from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from _helpers.image_files import HEIGHT, WIDTH, WRITERS, picture, pyramid, read, tissue
from PIL import Image

from hist2st_pyg.image import open_image
from hist2st_pyg.image import raster as raster_module

TILES: dict[str, Any] = {"photometric": "rgb", "tile": (16, 16)}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the tiles or strips that tifffile decodes."""
    numbers: list[int] = []
    original = tifffile.TiffPage.decode

    def decode(self: tifffile.TiffPage) -> Any:
        function = original.__get__(self)
        return lambda data, index, **options: (numbers.append(index), function(data, index, **options))[1]

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(decode))
    return numbers


# Pyramids.


def write_subifds(path: Path, levels: list[Any], **options: Any) -> None:
    with tifffile.TiffWriter(path) as tif:
        tif.write(levels[0], subifds=len(levels) - 1, **{**TILES, **options})
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **{**TILES, **options})


def write_pages(path: Path, levels: list[Any], **options: Any) -> None:
    with tifffile.TiffWriter(path) as tif:
        for number, level in enumerate(levels):
            tif.write(level, subfiletype=int(number > 0), metadata=None, **{**TILES, **options})


def write_ome(path: Path, levels: list[Any], axes: str = "YXS", **options: Any) -> None:
    settings: dict[str, Any] = {**TILES, **options}
    if axes == "CYX":
        settings["photometric"] = "minisblack"
    if axes == "SYX":
        settings["planarconfig"] = "separate"
    if axes != "YXS":
        levels = [level.transpose(2, 0, 1) for level in levels]
    with tifffile.TiffWriter(path, ome=True) as tif:
        metadata = {"axes": axes, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        tif.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **settings)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **settings)


PYRAMIDS: dict[str, Any] = {
    "subifds.tif": write_subifds,
    "pages.tiff": write_pages,
    "rgb.ome.tif": write_ome,
    "planes.ome.tif": lambda path, levels: write_ome(path, levels, "SYX"),
    "channels.ome.tiff": lambda path, levels: write_ome(path, levels, "CYX"),
    "strips.tif": lambda path, levels: write_pages(path, levels, tile=None, rowsperstrip=7, compression="deflate"),
}


@pytest.mark.parametrize("name", PYRAMIDS)
def test_every_level_of_a_pyramid_is_read(tmp_path: Path, name: str) -> None:
    levels = pyramid(tissue(301, 203), (1, 2, 4))
    PYRAMIDS[name](tmp_path / name, levels)
    image = open_image(tmp_path / name)
    assert image.size == (301, 203)
    assert image.level_sizes == ((301, 203), (150, 101), (75, 50))
    assert image.level_downsamples == (1.0, 2.0, 4.0)
    assert image.um_per_pixel == (0.25 if ".ome." in name else None)
    for level, pixels in enumerate(levels):
        np.testing.assert_array_equal(read(image, level), pixels)
        with image.open(level) as region:
            np.testing.assert_array_equal(region(33, 21, 40, 17), pixels[21:38, 33:73])
    with pytest.raises(ValueError, match=rf"{name}'\) has the levels 0 to 2, got level=3"), image.open(3):
        pass


def test_a_thumbnail_of_a_pyramid_reads_the_level_it_needs(tmp_path: Path) -> None:
    # The smaller levels are of another color, so that it shows which one is read.
    grey = [np.full((HEIGHT // f, WIDTH // f, 3), color, np.uint8) for f, color in ((2, 80), (4, 40))]
    write_subifds(tmp_path / "pyramid.tif", [picture(), *grey])
    image = open_image(tmp_path / "pyramid.tif")
    for longest, color in ((60, 40), (75, 40), (76, 80), (150, 80)):
        assert np.unique(image.thumbnail(longest)).tolist() == [color]
    assert image.thumbnail(151).max() > 150
    np.testing.assert_array_equal(image.thumbnail(1000), picture())


# Kinds of pixels.


def test_a_grey_tiff_becomes_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "grey.tif", picture()[..., 0], photometric="minisblack")
    image = open_image(tmp_path / "grey.tif")
    np.testing.assert_array_equal(read(image), np.repeat(picture()[..., :1], 3, axis=2))
    assert image.thumbnail(50).shape == (22, 50, 3)


@pytest.mark.parametrize("planar", [False, True])
def test_transparency_is_laid_on_white(tmp_path: Path, planar: bool) -> None:
    rgba = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 128
    options = {"planarconfig": "separate"} if planar else {}
    pixels = rgba.transpose(2, 0, 1) if planar else rgba
    tifffile.imwrite(tmp_path / "alpha.tif", pixels, photometric="rgb", extrasamples=["unassalpha"], **options)
    image = open_image(tmp_path / "alpha.tif")
    assert (read(image)[:10] == 255).all()
    half = 255 - (255 - picture()[10:20].astype(float)) * 128 / 255
    np.testing.assert_allclose(read(image)[10:20], half, atol=1)
    np.testing.assert_array_equal(read(image)[20:], picture()[20:])


def test_tiles_that_a_scanner_left_out_are_white(tmp_path: Path) -> None:
    tiles = [np.full((32, 32, 3), 9, np.uint8), None, None, np.full((32, 32, 3), 7, np.uint8)]
    shape: dict[str, Any] = {"shape": (64, 64, 3), "dtype": np.uint8, "tile": (32, 32)}
    tifffile.imwrite(tmp_path / "sparse.tif", iter(tiles), photometric="rgb", compression="deflate", **shape)
    pixels = read(open_image(tmp_path / "sparse.tif"))
    assert [int(pixels[y, x, 0]) for y in (0, 40) for x in (0, 40)] == [9, 255, 255, 7]


def test_pixels_that_are_not_8_bit_color_are_refused(tmp_path: Path) -> None:
    expected = r"must be an 8-bit RGB or grey image \(axes YXS, SYX, CYX or YX\), got"
    tifffile.imwrite(tmp_path / "deep.tif", 256 * picture().astype(np.uint16), photometric="rgb")
    with pytest.raises(ValueError, match=rf"deep.tif {expected} uint16 with axes YXS"):
        _ = open_image(tmp_path / "deep.tif").size
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 40, 30), np.uint8), photometric="minisblack")
    with pytest.raises(ValueError, match=rf"stack.tif {expected} uint8 with axes QYX"):
        _ = open_image(tmp_path / "stack.tif").size
    tifffile.imwrite(tmp_path / "stains.ome.tif", np.zeros((4, 40, 30), np.uint8), metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match=r"stains.ome.tif has MINISBLACK colors with shape \(4, 40, 30\); convert"):
        _ = open_image(tmp_path / "stains.ome.tif").size
    tifffile.imwrite(tmp_path / "ink.tif", np.zeros((40, 30, 4), np.uint8), photometric="separated")
    with pytest.raises(ValueError, match=r"ink.tif has SEPARATED colors with shape \(40, 30, 4\); convert it to RGB"):
        _ = open_image(tmp_path / "ink.tif").size


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tif").write_bytes(b"this is text, not an image" * 10)
    with pytest.raises(ValueError, match=r"image.tif cannot be read as an image"):
        _ = open_image(tmp_path / "image.tif").size


# Memory.


def test_a_tiff_is_read_by_regions_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    monkeypatch.setattr(raster_module, "memory_bytes", lambda: 1)
    WRITERS["tiles.tif"](tmp_path / "tiles.tif")
    image = open_image(tmp_path / "tiles.tif")
    assert image.tile_size() == (32, 32)
    with image.open() as region:
        np.testing.assert_array_equal(region(40, 40, 8, 8), picture()[40:48, 40:48])
        assert decoded == [11]  # one of fifty, in the second row of ten
        region(60, 40, 8, 8)
    assert decoded == [11, 11, 12]


def test_strips_are_read_by_bands(tmp_path: Path, decoded: list[int]) -> None:
    WRITERS["packed.tif"](tmp_path / "packed.tif")
    image = open_image(tmp_path / "packed.tif")
    assert image.tile_size() == (WIDTH, 9)
    with image.open() as region:
        np.testing.assert_array_equal(region(40, 40, 8, 8), picture()[40:48, 40:48])
    assert decoded == [4, 5]


@pytest.mark.parametrize("name", ["plain.tif", "strips.tif"])
def test_what_is_not_compressed_is_mapped(tmp_path: Path, decoded: list[int], name: str) -> None:
    WRITERS[name](tmp_path / name)
    image = open_image(tmp_path / name)
    assert image.tile_size() == (1, 1)
    with image.open() as region:
        pixels = region(40, 40, 8, 8)
    np.testing.assert_array_equal(pixels, picture()[40:48, 40:48])
    assert isinstance(pixels.base, np.memmap)
    assert decoded == []


def test_a_thumbnail_of_a_large_tiff_is_made_block_by_block(tmp_path: Path) -> None:
    large = np.zeros((5000, 4500, 3), np.uint8)
    large[:, :, 0] = np.linspace(0, 250, 5000).astype(np.uint8)[:, None]
    tifffile.imwrite(tmp_path / "large.tif", large, photometric="rgb", tile=(512, 512), compression="deflate")
    small = open_image(tmp_path / "large.tif").thumbnail(50)
    np.testing.assert_array_equal(small, np.asarray(Image.fromarray(large).reduce(100)))
