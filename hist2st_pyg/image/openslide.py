"""Slides in the scanners' own formats, read through OpenSlide (the ``slides`` extra)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image
from typing_extensions import override

from hist2st_pyg.image.base import TILE, Pixels, Region, check_level, three_channels
from hist2st_pyg.image.pyramid import Layout, PyramidImage
from hist2st_pyg.image.resolution import square_pixels
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.reading import check_unpacked, reading

KIND = "a slide that OpenSlide can read"

SEVERAL_FILES = (".vms", ".vmu", ".dcm")
"""Formats whose slides have further files in the same folder; a MIRAX slide's are in a folder of its name."""

CELL_PIXELS = 1024
"""Side of the regions read at once, in pixels: OpenSlide's buffers take several times the memory of the result."""


class OpenSlideImage(PyramidImage):
    """A slide of Aperio, Hamamatsu, Leica, MIRAX, Philips, Sakura, Ventana, Zeiss and others, or DICOM.

    Positions are pixels of the whole slide, even if only a part of it was scanned (OpenSlide's ``bounds``, for example
    in MIRAX); the rest is white. Programs that crop to the bounds count from ``bounds-x`` and ``bounds-y``.

    Args:
        path: The slide; for a MIRAX slide the ``.mrxs`` file, with its folder beside it.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImportError: If the ``slides`` extra is not installed; raised when the slide is opened.
    """

    @contextmanager
    def _slide(self) -> Iterator[Any]:
        with require_extra(self.path.name, "OpenSlide", "slides"):
            import openslide
        with reading(self.path, KIND):
            slide = openslide.OpenSlide(self.path)
        with slide:
            yield slide

    @override
    def _read_layout(self) -> Layout:
        with self._slide() as slide, reading(self.path, KIND):
            known = slide.properties
            mpp = [known.get(f"openslide.mpp-{axis}") for axis in "xy"]
            pixel = None if None in mpp else (float(mpp[0]), float(mpp[1]))
            keys = [f"openslide.level[{level}].tile" for level in range(slide.level_count)]
            tiles = tuple((int(known.get(f"{k}-width", TILE)), int(known.get(f"{k}-height", TILE))) for k in keys)
            width, height = slide.dimensions
            check_unpacked(self.path, self._bytes(), 3 * width * height)
            return Layout(tuple(slide.level_dimensions), tiles, square_pixels(pixel, self.path))

    def _bytes(self) -> int:
        """The size of the slide's files in bytes; some formats have several."""
        together = self.path.parent if self.path.suffix.lower() in SEVERAL_FILES else self.path.with_suffix("")
        others = together.rglob("*") if together.is_dir() else ()
        return sum(path.stat().st_size for path in {self.path, *others} if path.is_file())

    @override
    def fingerprint(self) -> str:
        # The quick hash covers the other files of a slide (MIRAX, Hamamatsu VMS, DICOM).
        with self._slide() as slide:
            return f"{super().fingerprint()}-{slide.properties.get('openslide.quickhash-1', '')}"

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        check_level(self, level)
        with self._slide() as slide:
            factor = slide.level_downsamples[level]
            # OpenSlide takes positions in level 0 at every level, and interpolates at positions between pixels. So read
            # from the corners of a grid: pixels are then the same in any region.
            exact = float(factor).is_integer()

            def region(x: int, y: int, width: int, height: int) -> Pixels:
                pixels = np.empty((height, width, 3), dtype=np.uint8)
                left, top, side = (x, y, CELL_PIXELS) if exact else (x - x % TILE, y - y % TILE, TILE)
                for y0, x0 in itertools.product(range(top, y + height, side), range(left, x + width, side)):
                    x1, y1 = min(x0 + side, x + width), min(y0 + side, y + height)
                    place = round(x0 * factor), round(y0 * factor)
                    with reading(self.path, KIND):
                        cell = _on_white(slide.read_region(place, level, (x1 - x0, y1 - y0)))
                    cell = cell[max(y - y0, 0) :, max(x - x0, 0) :]
                    pixels[y1 - y - len(cell) : y1 - y, x1 - x - cell.shape[1] : x1 - x] = cell
                return pixels

            yield region


def _on_white(rgba: Image.Image) -> Pixels:
    """Make unscanned areas, which are transparent, white."""
    if rgba.getchannel("A").getextrema() == (255, 255):
        return np.asarray(rgba.convert("RGB"))
    return three_channels(np.asarray(rgba))
