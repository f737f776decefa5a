"""TIFF and OME-TIFF files of any size, pyramidal or plain, read by regions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from typing_extensions import override

from hist2st_pyg.image.base import Pixels, Region, has_level, regions_of, three_channels
from hist2st_pyg.image.pyramid import Layout, PyramidImage
from hist2st_pyg.image.resolution import square_pixels, tiff_resolution

PHOTOMETRIC = {"MINISBLACK", "RGB", "YCBCR"}
"""TIFF colors that decode to grey or RGB."""

CHANNELS = {"YX": {1}, "YXS": {3, 4}, "SYX": {3, 4}, "CYX": {3}}
"""Supported axes and their numbers of samples or channels; three channels (C) are red, green and blue."""


class TiffImage(PyramidImage):
    """A TIFF, pyramidal or plain: regions are decoded tile by tile (or strip by strip).

    tifffile finds pyramids in SubIFDs (OME-TIFF) or in further pages marked as reduced images. Tiles that a scanner
    omitted are white.
    """

    @contextmanager
    def _levels(self) -> Iterator[tuple[Any, list[Any]]]:
        """Open the file and check its pixels; yields the file and the levels of its first series."""
        import tifffile

        try:
            file = tifffile.TiffFile(self.path)
        except tifffile.TiffFileError as error:
            raise ValueError(f"{self.path} cannot be read as an image: {error}") from error
        with file as tif:
            series = tif.series[0]
            if series.dtype != np.uint8 or series.axes not in CHANNELS:
                raise ValueError(
                    f"{self.path} must be an 8-bit RGB or grey image (axes YXS, SYX, CYX or YX), got {series.dtype} "
                    f"with axes {series.axes}."
                )
            photometric = series.keyframe.photometric.name
            if photometric not in PHOTOMETRIC or _samples(series) not in CHANNELS[series.axes]:
                raise ValueError(
                    f"{self.path} has {photometric} colors with shape {series.shape}; convert it to RGB or grey."
                )
            yield tif, list(series.levels)

    @override
    def _read_layout(self) -> Layout:
        with self._levels() as (tif, levels):
            sizes = tuple((int(s.shape[s.axes.index("X")]), int(s.shape[s.axes.index("Y")])) for s in levels)
            resolution = square_pixels(tiff_resolution(tif, self.path), self.path)
            return Layout(sizes, tuple(_tile_size(s.keyframe) for s in levels), resolution)

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        import zarr

        has_level(self, level)
        with self._levels() as (tif, levels):
            series = levels[level]
            if series.dataoffset is not None and series.keyframe.is_memmappable:
                # Neither compressed nor tiled: one strip may be the whole image, so map the file instead of decoding.
                array = tif.filehandle.memmap_array(series.dtype, series.shape, series.dataoffset)
            else:
                array = zarr.open(levels[0].aszarr(level=level, fillvalue=255), mode="r")
            yield regions_of(array) if series.axes[0] == "Y" else _planar_regions_of(array)


def _tile_size(page: Any) -> tuple[int, int]:
    """Size of the units that are decoded whole: a tile, a strip (as wide as the image), or a pixel if uncompressed."""
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return (1, 1) if page.is_memmappable else (int(page.imagewidth), int(page.rowsperstrip))


def _samples(series: Any) -> int:
    return int(np.prod([n for axis, n in zip(series.axes, series.shape, strict=True) if axis in "SC"], initial=1))


def _planar_regions_of(array: Any) -> Region:
    def region(x: int, y: int, width: int, height: int) -> Pixels:
        planes = np.asarray(array[:, y : y + height, x : x + width])
        return three_channels(np.ascontiguousarray(planes.transpose(1, 2, 0)))

    return region
