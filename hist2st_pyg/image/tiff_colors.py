"""Convert the samples of a TIFF's pixels to RGB by its tags; an unsupported color space raises an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.image.base import Pixels, three_channels
from hist2st_pyg.image.ome import channels

ToRGB = Callable[[NDArray[np.uint8]], Pixels]
"""Pixels [height, width] or [height, width, samples] as the file has them -> RGB [height, width, 3]."""

SAMPLES = {"YX": {1}, "YXS": {3, 4}, "SYX": {3, 4}, "CYX": {3}}
"""Supported axes and their numbers of samples or channels."""

CONVERTED = {"JPEG", "JPEG_LOSSY", "ALT_JPEG", "OJPEG"}
"""Compressions whose decoder turns YCbCr into RGB ..."""

UNCHANGED = {"NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD"}
"""... and those that give the samples as they were written."""

STANDARD_YCBCR = {
    "YCbCrCoefficients": (0.299, 0.587, 0.114),
    "ReferenceBlackWhite": (0.0, 255.0, 128.0, 255.0, 128.0, 255.0),
}
"""The values of the tags that JPEG, Pillow and OpenSlide assume, also the standard's defaults."""

UNSPECIFIED, PREMULTIPLIED = 0, 1
"""Values of the tag ExtraSamples: a fourth sample that is not opacity, and opacity that multiplies the color."""

RED_GREEN_BLUE = {"red": 0, "r": 0, "green": 1, "g": 1, "blue": 2, "b": 2}
COLORS: dict[int | None, int] = {0xFF0000: 0, 0x00FF00: 1, 0x0000FF: 2}


def to_rgb(series: Any, path: Path, ome: str | None) -> tuple[ToRGB, int]:
    """The function that turns a series' pixels into RGB, and the sample value of white where the file has no tile.

    Args:
        series: A ``tifffile.TiffPageSeries``.
        path: The file, for errors.
        ome: Its OME-XML, which may name the channels.

    Raises:
        ValueError: If the pixels are not 8-bit RGB or gray, or their colors are of a kind that is not converted.
    """
    page, axes = series.keyframe, series.axes
    color, compression = (getattr(tag, "name", str(tag)) for tag in (page.photometric, page.compression))
    if series.dtype != np.uint8 or page.bitspersample != 8 or axes not in SAMPLES:
        raise ValueError(
            f"{path} must be an 8-bit RGB or gray image (axes YXS, SYX, CYX or YX), got "
            f"{series.dtype if page.bitspersample % 8 == 0 else f'{page.bitspersample} bits'} with axes {axes}."
        )
    samples = int(np.prod([n for axis, n in zip(axes, series.shape, strict=True) if axis in "SC"], initial=1))
    if samples not in SAMPLES[axes] or (samples == 4 and color != "RGB"):
        raise ValueError(f"{path} has {color} colors with shape {series.shape}; convert it to RGB or gray.")
    orientation = page.tags.valueof("Orientation", default=1)
    if orientation not in (1, (1,)):
        raise ValueError(f"{path} is stored turned or mirrored (orientation {orientation}); save it upright.")
    if compression == "APERIO_JP2000_YCBC":
        raise ValueError(f"{path} has YCbCr colors in JPEG 2000 ({compression}); name it .svs, or convert it to RGB.")
    if color == "MINISWHITE" and samples == 1:
        return lambda pixels: three_channels(255 - pixels), 0
    if color == "YCBCR" and samples == 3 and compression not in CONVERTED:
        _check_ycbcr(page, path, compression)
        return _from_ycbcr, 255
    if color not in {"MINISBLACK", "RGB", "YCBCR"} or (color == "MINISBLACK" and samples == 4):
        raise ValueError(f"{path} has {color} colors with shape {series.shape}; convert it to RGB or gray.")
    if axes == "CYX":
        order = _channel_order(series, path, ome)
        return lambda pixels: np.ascontiguousarray(pixels[..., order]), 255
    if samples == 4:
        return _without_fourth(page.extrasamples), 255
    return three_channels, 255


def _check_ycbcr(page: Any, path: Path, compression: str) -> None:
    subsampling = tuple(page.tags.valueof("YCbCrSubSampling", default=(2, 2)))
    if compression not in UNCHANGED or subsampling != (1, 1):
        raise ValueError(
            f"{path} has YCbCr colors with subsampling {subsampling} in {compression} compression; convert it to RGB."
        )
    for tag, standard in STANDARD_YCBCR.items():
        values = np.ravel(np.asarray(page.tags.valueof(tag, default=standard), dtype=np.float64))
        if len(values) == 2 * len(standard):  # fractions
            values = values[::2] / np.where(values[1::2] == 0, np.nan, values[1::2])
        if values.shape != (len(standard),) or not np.allclose(values, standard, rtol=0, atol=0.001):
            raise ValueError(f"{path} has non-standard YCbCr colors ({tag} {values.tolist()}); convert it to RGB.")
    if not all(page.databytecounts):
        raise ValueError(f"{path} has YCbCr colors and lacks tiles, which then have no color; convert it to RGB.")


def _from_ycbcr(pixels: NDArray[np.uint8]) -> Pixels:
    blue, red = (pixels[..., channel].astype(np.float32) - 128 for channel in (1, 2))
    rgb = np.stack([1.402 * red, -0.344136 * blue - 0.714136 * red, 1.772 * blue], axis=-1) + pixels[..., :1]
    return np.asarray(np.rint(rgb).clip(0, 255), dtype=np.uint8)


def _without_fourth(extra: tuple[Any, ...]) -> ToRGB:
    """Drop a fourth sample: opacity onto white, as on slides; no tag means opacity, as in other programs."""
    kind = int(extra[0]) if extra else None
    if kind == UNSPECIFIED:
        return lambda pixels: np.ascontiguousarray(pixels[..., :3])
    if kind == PREMULTIPLIED:
        return _premultiplied
    return three_channels


def _premultiplied(pixels: NDArray[np.uint8]) -> Pixels:
    white = 255 - pixels[..., 3:].astype(np.uint16)
    return np.asarray(np.minimum(pixels[..., :3] + white, 255), dtype=np.uint8)


def _channel_order(series: Any, path: Path, ome: str | None) -> list[int]:
    """The indices of red, green and blue among three channels, by their names or colors in OME-XML.

    Raises:
        ValueError: If the names or colors are others, for example of a fluorescence image.
    """
    names, colors = channels(ome, series) if ome is not None else ([], [])
    if series.kind == "imagej":
        names = [str(label) for label in (series.parent.imagej_metadata or {}).get("Labels", ["unnamed"] * 3)]
    for found in ([RED_GREEN_BLUE.get(name.lower()) for name in names], [COLORS.get(color) for color in colors]):
        if sorted(place for place in found if place is not None) == [0, 1, 2]:
            return [found.index(place) for place in range(3)]
        if any(name for name in names):
            raise ValueError(
                f"{path} has the channels {', '.join(names)}, which are not red, green and blue; convert it to RGB."
            )
    if any(color is not None and color != 0xFFFFFF for color in colors):
        listed = ", ".join("none" if color is None else f"#{color:06X}" for color in colors)
        raise ValueError(f"{path} has channels of the colors {listed}, not red, green and blue; convert it to RGB.")
    return [0, 1, 2]
