"""TIFF and OME-TIFF files of any size, pyramidal or plain, read by regions."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hist2st_pyg.image.base import Pixels, Region, check_level
from hist2st_pyg.image.memory import check_memory
from hist2st_pyg.image.pyramid import Layout, PyramidImage
from hist2st_pyg.image.resolution import square_pixels, tiff_resolution
from hist2st_pyg.image.tiff_colors import ToRGB, to_rgb
from hist2st_pyg.utils.reading import check_unpacked, reading

logger = logging.getLogger(__name__)

KIND = "a TIFF image"

SHAPE_TOLERANCE = 0.05
"""A page is a smaller copy of the image if the factors of its width and height differ by less than this share."""


class _Level(NamedTuple):
    """One resolution of the image.

    Args:
        series: Its ``tifffile.TiffPageSeries``.
        rgb: Converts its pixels to RGB.
        white: The sample value of white.
        present: Which tiles (or strips) the file has, bool [rows, columns]; None if it is mapped into memory.
    """

    series: Any
    rgb: ToRGB
    white: int
    present: NDArray[np.bool_] | None


class TiffImage(PyramidImage):
    """A TIFF, pyramidal or plain: regions are decoded tile by tile (or strip by strip).

    The image is the file's largest one; labels and thumbnails beside it are skipped. tifffile finds pyramids in
    SubIFDs (OME-TIFF) or in further pages marked as reduced images. Tiles that a scanner omitted are white.
    """

    @contextmanager
    def _levels(self) -> Iterator[tuple[Any, list[_Level]]]:
        """Open the file and check it; yields the file and the levels of its largest image."""
        import tifffile

        with reading(self.path, KIND):
            file = tifffile.TiffFile(self.path)
        with file as tif:
            with reading(self.path, KIND):
                series = self._largest(tif)
                levels = [self._checked(level, tif) for level in _copies(series)]
            yield tif, levels

    def _largest(self, tif: Any) -> Any:
        series = list(tif.series)
        areas = [np.prod(_size(one), dtype=np.float64) for one in series]
        largest = [one for one, area in zip(series, areas, strict=True) if area == max(areas)]
        if len(largest) > 1:
            raise ValueError(f"{self.path} holds {len(largest)} images of {largest[0].shape}; save one of them alone.")
        if largest[0] is not series[0]:
            logger.info("%s: reading the largest of its %d images, which is not the first", self.path, len(series))
        return largest[0]

    def _checked(self, series: Any, tif: Any) -> _Level:
        page, size = series.keyframe, tif.filehandle.size
        rgb, white = to_rgb(series, self.path, tif.ome_metadata if tif.is_ome else None)
        needed, unit, present = math.prod(page.chunked), math.prod(page.chunks), []
        for one in filter(None, series.pages):
            offsets, counts = (np.asarray(values, dtype=np.int64) for values in (one.dataoffsets, one.databytecounts))
            if len(offsets) != needed or len(counts) != needed:
                raise ValueError(
                    f"{self.path} is damaged: its {page.imagewidth} x {page.imagelength} px need {needed} tiles or "
                    f"strips, but it has {len(offsets)}."
                )
            if (end := int((offsets + counts).max())) > size:
                raise ValueError(
                    f"{self.path} is damaged: it was cut off, its pixels end at byte {end:,}, the file at {size:,}."
                )
            present.append((counts > 0) & (offsets > 0))
        check_unpacked(self.path, size, unit * int(np.sum(present)))
        if _is_mapped(series):
            return _Level(series, rgb, white, None)
        wide, high = _tile_size(series)
        check_memory(self.path, unit, f"of tiles or strips of {wide} x {high} px")
        rows, columns = -(-page.imagelength // high), -(-page.imagewidth // wide)
        # Planes and pages hold the same places; a place is there if any of them has it.
        return _Level(series, rgb, white, np.asarray(np.concatenate(present).reshape(-1, rows, columns).any(axis=0)))

    @override
    def _read_layout(self) -> Layout:
        with self._levels() as (tif, levels):
            series = [level.series for level in levels]
            with reading(self.path, KIND):
                resolution = square_pixels(tiff_resolution(tif, series[0], self.path), self.path)
            return Layout(
                sizes=tuple(map(_size, series)),
                tiles=tuple(map(_tile_size, series)),
                um_per_pixel=resolution,
                present=tuple(level.present for level in levels),
            )

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        import zarr

        check_level(self, level)
        with self._levels() as (tif, levels):
            series, rgb, white, _ = levels[level]
            with reading(self.path, KIND):
                if _is_mapped(series):
                    # Neither compressed nor tiled: one strip may be the whole image, so map the file instead.
                    array = tif.filehandle.memmap_array(series.dtype, series.shape, series.dataoffset)
                else:
                    array = zarr.open(series.aszarr(level=0, fillvalue=white), mode="r")

            def region(x: int, y: int, width: int, height: int) -> Pixels:
                rows, columns = slice(y, y + height), slice(x, x + width)
                with reading(self.path, KIND):
                    if series.axes[0] == "Y":
                        return rgb(np.asarray(array[rows, columns]))
                    return rgb(np.ascontiguousarray(np.asarray(array[:, rows, columns]).transpose(1, 2, 0)))

            yield region


def _size(series: Any) -> tuple[int, int]:
    """Width and height in pixels."""
    axes = series.axes
    return (int(series.shape[axes.index("X")]), int(series.shape[axes.index("Y")])) if {*"XY"} <= {*axes} else (0, 0)


def _copies(series: Any) -> list[Any]:
    """The levels of a series that are smaller copies of its first, by their shape; others are other pictures."""
    first, *others = series.levels
    width, height = _size(first)
    return [first, *(level for level in others if _is_copy(_size(level), width, height))]


def _is_copy(size: tuple[int, int], width: int, height: int) -> bool:
    wide, high = size
    # Each side may be rounded by a pixel.
    return min(size) > 0 and abs(width * high - height * wide) <= width + height + SHAPE_TOLERANCE * width * high


def _is_mapped(series: Any) -> bool:
    """Whether the pixels lie in the file as in memory."""
    return series.dataoffset is not None and series.keyframe.is_memmappable


def _tile_size(series: Any) -> tuple[int, int]:
    """Size of the units that are decoded whole: a tile, a strip (as wide as the image), or a pixel if mapped."""
    page = series.keyframe
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return (1, 1) if _is_mapped(series) else (int(page.imagewidth), min(int(page.rowsperstrip), int(page.imagelength)))
