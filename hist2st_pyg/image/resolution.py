"""The resolution stated in a slide's file, in µm per pixel."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hist2st_pyg.image.base import SAME

logger = logging.getLogger(__name__)

MICROSCOPIC = (0.05, 20.0)
"""Range of microscopes in µm per pixel. Other tags are those of a screen or printer (72 dpi are 353 µm per pixel)."""

MICROMETRES = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Units of OME-XML in µm; the first two are the micro sign and the Greek letter."""

TAG_UNITS = {2: 25_400.0, 3: 10_000.0}
"""Units of TIFF's resolution tags, inch and centimetre, in µm."""


def tiff_resolution(tif: Any, path: Path) -> tuple[float, float] | None:
    """Width and height of a pixel in µm, from a TIFF's OME-XML, Aperio description or resolution tags.

    Args:
        tif: An open ``tifffile.TiffFile``.
        path: The file, for the log.

    Returns:
        None if the file has none of them.
    """
    page = tif.pages.first
    if tif.is_ome:
        return _ome_resolution(tif.ome_metadata, path)
    if aperio := re.search(r"^Aperio.*\bMPP\s*=\s*(\d*\.?\d+)", page.description, re.DOTALL):
        return float(aperio[1]), float(aperio[1])
    unit = TAG_UNITS.get(int(page.tags.valueof("ResolutionUnit", default=2)))
    per_unit = [page.tags.valueof(name, default=(0, 1)) for name in ("XResolution", "YResolution")]
    if unit is None or not all(n and d for n, d in per_unit):
        return None
    x, y = (unit * d / n for n, d in per_unit)
    return (x, y) if all(MICROSCOPIC[0] <= size <= MICROSCOPIC[1] for size in (x, y)) else None


def _ome_resolution(xml: str, path: Path) -> tuple[float, float] | None:
    try:
        pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")  # the first image, as it is the first series
    except ElementTree.ParseError as error:
        logger.warning("%s: its OME-XML is damaged (%s); its resolution is taken as unknown.", path, error)
        return None
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if value is None or unit not in MICROMETRES:
            return None
        sizes.append(float(value) * MICROMETRES[unit])
    return sizes[0], sizes[1]


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
    if abs(x - y) > SAME * max(x, y):
        logger.warning("The pixels of %s are not square (%g x %g µm); its resolution is taken as unknown.", path, x, y)
        return None
    return (x + y) / 2
