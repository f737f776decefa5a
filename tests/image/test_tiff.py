from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from _helpers.image_files import HEIGHT, WIDTH, WRITERS, picture, read
from PIL import Image

from hist2st_pyg.image import memory, open_image
from hist2st_pyg.utils import reading


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


# Kinds of pixels.


def test_a_gray_tiff_becomes_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "gray.tif", picture()[..., 0], photometric="minisblack")
    image = open_image(tmp_path / "gray.tif")
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
    expected = r"must be an 8-bit RGB or gray image \(axes YXS, SYX, CYX or YX\), got"
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
    with pytest.raises(ValueError, match=r"image.tif is damaged or not a TIFF image"):
        _ = open_image(tmp_path / "image.tif").size


# Memory.


def test_a_tiff_is_read_by_regions_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    tile = 3 * 32 * 32
    monkeypatch.setattr(memory, "memory_bytes", lambda: int(tile / memory.MEMORY_SHARE))
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


# Damage.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jpeg", {"compression": "jpeg", "tile": (32, 32)}),
        ("zlib", {"compression": "zlib", "tile": (32, 32)}),
        ("tiles", {"tile": (32, 32)}),
        ("raw", {}),
        ("strips", {"rowsperstrip": 9}),
    ],
)
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / f"{name}.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", **options)
    content = path.read_bytes()
    for share in (0.05, 0.6, 0.95):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=rf"{name}\.tif is damaged") as error:
            read(open_image(path))
        assert "\n" not in str(error.value)


def test_a_file_whose_directory_was_cut_off_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "libtiff.tif"
    Image.fromarray(picture()).save(path, compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"libtiff\.tif is damaged"):
        _ = open_image(path).size


@pytest.mark.parametrize("compression", ["jpeg", "zlib"])
def test_tiles_of_garbage_are_damaged(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "garbage.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", tile=(32, 32), compression=compression)
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[0].dataoffsets[7], tif.pages[0].databytecounts[7]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    image = open_image(path)
    assert image.size == (WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=r"garbage\.tif is damaged or not a TIFF image: "):
        read(image)


# Claims.


def overwrite(path: Path, **tags: Any) -> None:
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name, value in tags.items():
            tif.pages[0].tags[name].overwrite(value)


@pytest.mark.parametrize("side", [10**5, 10**6])
@pytest.mark.parametrize("name", ["tiles.tif", "packed.tif", "plain.tif"])
def test_a_size_that_the_file_does_not_hold_is_damage(tmp_path: Path, side: int, name: str) -> None:
    WRITERS[name](tmp_path / name)
    overwrite(tmp_path / name, ImageWidth=side, ImageLength=side)
    with pytest.raises(ValueError, match=rf"{name} (is damaged|has .* bytes and unpacks to)"):
        open_image(tmp_path / name).thumbnail()


def test_a_huge_image_of_few_tiles_is_white_and_read_at_once(tmp_path: Path, decoded: list[int]) -> None:
    path, side = tmp_path / "sparse.tif", 100_000
    tile = np.full((256, 256, 3), 90, np.uint8)
    tiles = (tile if number == 0 else None for number in range((side // 256 + 1) ** 2))
    options: Any = {"shape": (side, side, 3), "dtype": np.uint8, "tile": (256, 256), "photometric": "rgb"}
    tifffile.imwrite(path, tiles, compression="zlib", metadata=None, **options)
    image = open_image(path)
    thumbnail = image.thumbnail(500)
    assert image.size == (side, side)
    assert thumbnail.shape[:2] == (500, 500)
    assert (thumbnail[3:, 3:] == 255).all()
    assert (thumbnail[0, 0] < 255).all()
    assert decoded == [0]


def test_pixels_that_no_file_packs_so_well_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(
        path, np.zeros((2048, 2048, 3), np.uint8), photometric="rgb", compression="zlib", rowsperstrip=2048
    )
    monkeypatch.setattr(reading, "UNPACKED_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"bomb\.tif has .* bytes and unpacks to .*set HIST2ST_UNPACKED_GIB"):
        _ = open_image(path).size
