from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from _helpers.image_files import HEIGHT, WIDTH, picture, read
from PIL import Image

from hist2st_pyg.image import open_image


def written(path: Path, pixels: Any, **options: Any) -> Any:
    tifffile.imwrite(path, pixels, **options)
    return read(open_image(path))


def ycbcr() -> Any:
    return np.asarray(Image.fromarray(picture()).convert("YCbCr"))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
def test_ycbcr_is_converted_as_pillow_does(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "y.tif"
    pixels = written(path, ycbcr(), photometric="ycbcr", subsampling=(1, 1), compression=compression, tile=(64, 64))
    assert np.abs(pixels.astype(int) - np.asarray(Image.open(path).convert("RGB"))).max() <= 1
    assert np.abs(pixels.astype(int) - picture()).max() <= 3


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate"])
def test_ycbcr_of_pillow_is_converted(tmp_path: Path, compression: str) -> None:
    Image.fromarray(picture()).convert("YCbCr").save(tmp_path / "y.tif", compression=compression)
    assert np.abs(read(open_image(tmp_path / "y.tif")).astype(int) - picture()).max() <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsampling": (2, 2)}, r"subsampling \(2, 2\)"),
        (
            {"subsampling": (1, 1), "extratags": [(529, 5, 3, (2126, 10000, 7152, 10000, 722, 10000), True)]},
            "Coefficients",
        ),
    ],
)
def test_ycbcr_of_another_kind_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "y.tif"
    tifffile.imwrite(path, ycbcr(), photometric="ycbcr", **{**options, "subsampling": (1, 1)})
    if options["subsampling"] != (1, 1):
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags["YCbCrSubSampling"].overwrite(options["subsampling"])
    with pytest.raises(ValueError, match=rf"y\.tif .*({message}).*"):
        _ = open_image(path).size


def test_jpeg_in_tiff_is_converted_by_its_decoder(tmp_path: Path) -> None:
    pixels = written(tmp_path / "j.tif", picture(), photometric="rgb", compression="jpeg", tile=(64, 64))
    with tifffile.TiffFile(tmp_path / "j.tif") as tif:
        assert tif.pages[0].photometric.name == "YCBCR"
    assert np.abs(pixels.astype(int) - picture()).mean() < 4


def test_white_is_zero_is_inverted(tmp_path: Path) -> None:
    pixels = written(tmp_path / "w.tif", picture()[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(pixels[..., 1], 255 - picture()[..., 0])


@pytest.mark.parametrize(
    ("photometric", "pixels", "options"),
    [
        ("separated", np.zeros((20, 30, 4), np.uint8), {}),
        ("cielab", np.zeros((20, 30, 3), np.uint8), {}),
        ("palette", np.zeros((20, 30), np.uint8), {"colormap": np.zeros((3, 256), np.uint16)}),
        ("minisblack", np.zeros((20, 30, 4), np.uint8), {"planarconfig": "contig"}),
        ("minisblack", np.zeros((20, 30, 2), np.uint8), {"planarconfig": "contig"}),
    ],
)
def test_other_colors_are_refused_by_name(
    tmp_path: Path, photometric: str, pixels: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=rf"c\.tif has {photometric.upper()} colors .*convert it to RGB or gray"):
        written(tmp_path / "c.tif", pixels, photometric=photometric, **options)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int8, np.bool_])
def test_samples_that_are_not_of_8_bits_are_refused(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"d\.tif must be an 8-bit RGB or gray image"):
        written(tmp_path / "d.tif", np.zeros((20, 30), dtype), photometric="minisblack")


def test_a_fourth_sample_is_opacity_only_where_the_file_says_so(tmp_path: Path) -> None:
    half = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    on_white = np.rint(255 - (255 - picture().astype(float)) * 128 / 255)
    kinds = {"unassalpha": picture(), "assocalpha": np.rint(picture() * (128 / 255)).astype(np.uint8)}
    for kind, color in kinds.items():
        pixels = written(tmp_path / "a.tif", np.dstack([color, half]), photometric="rgb", extrasamples=[kind])
        np.testing.assert_allclose(pixels, on_white, atol=1.5)
    pixels = written(tmp_path / "x.tif", np.dstack([picture(), half]), photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(pixels, picture())


def test_a_turned_tiff_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t\.tif is stored turned or mirrored \(orientation 6\)"):
        written(tmp_path / "t.tif", picture(), photometric="rgb", extratags=[(274, 3, 1, 6, True)])


def of_channels(path: Path, order: str, names: list[str] | None, colors: list[int] | None = None) -> Any:
    planes = np.stack([picture()[..., "RGB".index(channel)] for channel in order])
    channel: dict[str, Any] = {} if names is None else {"Name": names}
    if colors is not None:
        channel["Color"] = colors
    return written(path, planes, photometric="minisblack", metadata={"axes": "CYX", "Channel": channel}, ome=True)


RED, GREEN, BLUE = -16776961, 16711935, 65535
"""OME's numbers of opaque colors."""


@pytest.mark.parametrize(
    ("order", "names", "colors"),
    [
        ("RGB", None, None),
        ("RGB", ["Channel 0", "Channel 1", "Channel 2"], None),
        ("RGB", ["Red", "Green", "Blue"], None),
        ("BGR", ["blue", "green", "red"], None),
        ("GBR", ["G", "B", "R"], None),
        ("BGR", ["C1", "C2", "C3"], [BLUE, GREEN, RED]),
        ("RGB", ["0:0", "0:1", "0:2"], [-1, -1, -1]),
    ],
)
def test_channels_are_put_into_order_by_their_names_or_colors(
    tmp_path: Path, order: str, names: list[str] | None, colors: list[int] | None
) -> None:
    np.testing.assert_array_equal(of_channels(tmp_path / "c.ome.tif", order, names, colors), picture())


@pytest.mark.parametrize(
    ("names", "colors", "message"),
    [
        (["DAPI", "CD3", "PanCK"], None, "channels DAPI, CD3, PanCK, which are not red, green and blue"),
        (["DAPI", "FITC", "TRITC"], [BLUE, GREEN, RED], "channels DAPI, FITC, TRITC"),
        (None, [16711935, -65281, 16777215], "channels of the colors #00FF00, #FFFF00, #00FFFF"),
    ],
)
def test_channels_of_fluorescence_are_refused(
    tmp_path: Path, names: list[str] | None, colors: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"c\.ome\.tif has {message}|c\.ome\.tif has the {message}"):
        of_channels(tmp_path / "c.ome.tif", "RGB", names, colors)
