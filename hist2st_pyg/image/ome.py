"""Read OME-XML about one image of a TIFF."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

NUMBERED = re.compile(r"^\s*(channel|c)?[\s:_#\d-]*$", re.IGNORECASE)
"""A channel's name that is only a number."""


def channels(ome: str, series: Any) -> tuple[list[str], list[int | None]]:
    """The names (empty if only a number) and the colors of a series' channels in OME-XML."""
    pixels = ome_pixels(ome, series)
    found = [] if pixels is None else pixels.findall("{*}Channel")
    names = [NUMBERED.sub("", channel.get("Name", "")) for channel in found]
    colors = [channel.get("Color", "") for channel in found]
    # A signed 32-bit number of red, green, blue and opacity.
    return names, [(int(c) & 0xFFFFFFFF) >> 8 if c.lstrip("-").isdigit() else None for c in colors]


def ome_pixels(ome: str, series: Any) -> ElementTree.Element | None:
    """The element ``Pixels`` of OME-XML that has a series' width and height, or None; damaged XML raises."""
    size = {f"Size{axis}": str(series.shape[series.axes.index(axis)]) for axis in "XY"}
    found = ElementTree.fromstring(ome).iterfind(".//{*}Pixels")
    return next((pixels for pixels in found if all(pixels.get(key) == value for key, value in size.items())), None)
