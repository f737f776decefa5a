"""The resolution stated in a slide's file, in µm per pixel."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hist2st_pyg.image.base import SAME_RESOLUTION
from hist2st_pyg.image.ome import ome_pixels

logger = logging.getLogger(__name__)

MICROSCOPE_UM = (0.05, 20.0)
"""Range of microscopes in µm per pixel. Other tags are those of a screen or printer (72 dpi are 353 µm per pixel)."""

UNIT_UM = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Units of OME-XML in µm; the first two are the micro sign and the Greek letter."""

TAG_UNIT_UM: dict[float, float] = {2: 25_400.0, 3: 10_000.0}
"""Units of TIFF's resolution tags, inch and centimeter, in µm."""


def tiff_resolution(tif: Any, series: Any, path: Path) -> tuple[float, float] | None:
    """Width and height of a pixel in µm, from a TIFF's OME-XML, Aperio description or resolution tags.

    Args:
        tif: An open ``tifffile.TiffFile``.
        series: The image in it.
        path: The file, for the log.

    Returns:
        None if the file has none of them.
    """
    page = series.keyframe
    if tif.is_ome:
        return _ome_resolution(tif.ome_metadata, series, path)
    if aperio := re.search(r"^Aperio.*\bMPP\s*=\s*(\d*\.?\d+)", page.description, re.DOTALL):
        return float(aperio[1]), float(aperio[1])
    unit = TAG_UNIT_UM.get(_number(page.tags.valueof("ResolutionUnit", default=2)))
    per_unit = [_number(page.tags.valueof(name, default=0)) for name in ("XResolution", "YResolution")]
    if unit is None or not all(value > 0 for value in per_unit):
        return None
    x, y = (unit / value for value in per_unit)
    return (x, y) if all(MICROSCOPE_UM[0] <= size <= MICROSCOPE_UM[1] for size in (x, y)) else None


def _number(value: Any) -> float:
    """The number of a tag, a fraction (as in the standard) or of another type; nan if it is not a number."""
    try:
        numbers = [float(part) for part in (value if isinstance(value, tuple | list) else [value])]
        return numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1]
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return math.nan


def _ome_resolution(xml: str, series: Any, path: Path) -> tuple[float, float] | None:
    try:
        pixels = ome_pixels(xml, series)
        sizes = [] if pixels is None else [_micrometers(pixels, axis) for axis in "XY"]
    except (ElementTree.ParseError, ValueError) as error:
        logger.warning("%s: its OME-XML is damaged (%s); its resolution is taken as unknown.", path, error)
        return None
    x, y = sizes or (None, None)
    return None if x is None or y is None else (x, y)


def _micrometers(pixels: ElementTree.Element, axis: str) -> float | None:
    value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
    return None if value is None or unit not in UNIT_UM else float(value) * UNIT_UM[unit]


def square_pixels(sizes: tuple[float, float] | None, path: Path) -> float | None:
    """The side of a square pixel.

    Pixels that are not square, or of an impossible size, are logged and make the resolution unknown, because positions
    and fields of view need pixels of one size. The user can set the correct resolution.

    Args:
        sizes: Width and height of a pixel in µm, or None.
        path: The file, for the log.
    """
    if sizes is None:
        return None
    x, y = sizes
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        logger.warning("%s states pixels of %g x %g µm; its resolution is taken as unknown.", path, x, y)
        return None
    if abs(x - y) > SAME_RESOLUTION * max(x, y):
        logger.warning("The pixels of %s are not square (%g x %g µm); its resolution is taken as unknown.", path, x, y)
        return None
    return (x + y) / 2
