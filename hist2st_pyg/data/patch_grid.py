"""The pixels that fields of view are cut out of: those of a level of the image's pyramid, or averages of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg.image import HistologyImage, Region

BLOCK_PIXELS = 2**26
"""Largest number of pixels that are read at once, 200 MB decoded; a larger field of view is read separately."""

AVERAGED = 4
"""Side of the squares of pixels that are averaged before a wide field of view is cut."""

WIDE = 4 * AVERAGED
"""Pixels of a level for each pixel of a patch from which a field is wide; at least four averages for each remain."""

AVERAGED_AT_ONCE = 2**24
"""Largest number of pixels that are averaged at a time, 50 MB decoded."""

PATCHES_AT_ONCE = 1024
"""Number of a block's patches that are in memory at a time before they are written to the cache."""

Cut = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Spots, channels, and their part of the patches, [spots, channels, P, P]."""


def is_wide(image: HistologyImage, level: int, side: float, patch_size: int) -> bool:
    """Whether a field of view has so many pixels of a level that they are averaged before it is cut.

    Args:
        image: The image.
        level: The level.
        side: Side of the field in pixels of level 0.
        patch_size: Side of the patch in pixels.
    """
    return side / image.level_downsamples[level] >= WIDE * patch_size


@dataclass(frozen=True)
class PixelGrid:
    """A grid of pixels with its costs of reading.

    Args:
        region: Reads a region of the grid.
        size: Width and height.
        downsample: Factor by which the grid is smaller than level 0.
        block: Width and height of the blocks in which spots are read.
        tile: Width and height of what is decoded at once.
    """

    region: Region
    size: tuple[int, int]
    downsample: float
    block: tuple[int, int]
    tile: tuple[int, int]

    @classmethod
    def of(cls, image: HistologyImage, level: int, region: Region, factor: int = 1) -> PixelGrid:
        """Describe an opened level, or averages of its squares of ``factor`` x ``factor`` pixels."""
        size, tile = image.level_sizes[level], image.tile_size(level)
        return cls(
            region if factor == 1 else averaged(region, size, factor),
            (-(-size[0] // factor), -(-size[1] // factor)),
            factor * image.level_downsamples[level],
            image.block_size(level),
            (-(-tile[0] // factor), -(-tile[1] // factor)),
        )

    def cut(self, pos: NDArray[np.float64], patch_size: int, sides: Mapping[int, float]) -> Iterator[Cut]:
        """Cut fields of view around spots, block by block.

        Args:
            pos: Spot centers [N, 2] in pixels of level 0.
            patch_size: Side of the patches, P, in pixels.
            sides: Sides of the fields in pixels of level 0, by the number of the field.
        """
        fields = [(s, round(side / self.downsample)) for s, side in sides.items()]
        channels = np.array([3 * s + color for s, _ in fields for color in range(3)])
        places = {side: self._places(pos, side) for _, side in fields}
        largest = max(places)
        for spots in _blocks(places[largest], largest, self.block):
            block = self._block(places[largest][spots], largest)
            for some in np.split(spots, range(PATCHES_AT_ONCE, len(spots), PATCHES_AT_ONCE)):
                part = np.empty((len(some), 3 * len(fields), patch_size, patch_size), dtype=np.uint8)
                for (i, spot), (j, (_, side)) in itertools.product(enumerate(some), enumerate(fields)):
                    x, y = places[side][spot].tolist()
                    crop = _reflected(block, self.size, x, y, side)
                    part[i, 3 * j : 3 * j + 3] = _resized(crop, patch_size).transpose(2, 0, 1)
                yield some, channels, part
            del block, crop, part  # before the next is read

    def _places(self, pos: NDArray[np.float64], side: int) -> NDArray[np.int64]:
        """The pixel right and below of a field's center, or the middle one of an odd side.

        In level 0 it is the pixel that the spot's center is on.
        """
        middle = 0.5 * (side % 2)
        nearest = np.rint((np.floor(pos) + middle) / self.downsample - middle)
        return nearest.astype(np.int64).clip(0, np.subtract(self.size, 1))

    def _block(self, places: NDArray[np.int64], side: int) -> Region:
        """Read the fields of view of some spots at once, unless reading them one by one decodes less."""
        x0, y0 = (places.min(0) - side // 2).clip(0).tolist()
        x1, y1 = np.minimum(places.max(0) + side - side // 2 + 1, self.size).tolist()
        together, apart = (
            np.minimum(np.add(shape, self.tile), self.size).prod() for shape in ((x1 - x0, y1 - y0), (side, side))
        )
        if len(places) * apart <= together:
            return self.region
        pixels = self.region(x0, y0, x1 - x0, y1 - y0)

        def inside(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
            return pixels[y - y0 : y - y0 + height, x - x0 : x - x0 + width]

        return inside


def averaged(region: Region, size: tuple[int, int], factor: int) -> Region:
    """Return a function that reads averages of squares of pixels; at the right and lower border, of what is left.

    The places of the squares do not depend on the region, so that a spot's patch is the same in every block.

    Args:
        region: Reads pixels.
        size: Width and height of all pixels.
        factor: Side of a square in pixels.
    """

    def averages(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        result = np.empty((height, width, 3), dtype=np.uint8)
        left, right = factor * x, min(factor * (x + width), size[0])
        rows = max(AVERAGED_AT_ONCE // (factor * (right - left)), 1)
        for start in range(0, height, rows):
            top, bottom = factor * (y + start), min(factor * (y + min(start + rows, height)), size[1])
            pixels = region(left, top, right - left, bottom - top)
            result[start : start + rows] = np.asarray(Image.fromarray(pixels).reduce(factor))
        return result

    return averages


def _resized(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square at the patches' size; Pillow's bilinear filter averages when it shrinks."""
    if len(crop) == side:
        return crop
    return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BILINEAR))


def _blocks(places: NDArray[np.int64], side: int, block: tuple[int, int]) -> Iterator[NDArray[np.int64]]:
    """Group spots whose fields of view fit in a block, in reading order; single spots if no block is that large."""
    wide, high = block
    high = min(high, BLOCK_PIXELS // (wide + side) - side)
    if high < 1 or not len(places):
        yield from np.arange(len(places))[:, None]
        return
    column, row = places[:, 0] // wide, places[:, 1] // high
    order = np.lexsort((column, row))
    breaks = np.flatnonzero(np.diff(column[order]) | np.diff(row[order])) + 1
    yield from np.split(order, breaks)


def _reflected(region: Region, size: tuple[int, int], x: int, y: int, side: int) -> NDArray[np.uint8]:
    """The square of ``side`` pixels around (x, y), reflected where it leaves the image."""
    width, height = size
    left, top = x - side // 2, y - side // 2
    x0, y0 = max(left, 0), max(top, 0)
    # Read one pixel more, which the reflection of an even side at x = 0 or y = 0 needs.
    x1, y1 = min(left + side + 1, width), min(top + side + 1, height)
    crop = region(x0, y0, x1 - x0, y1 - y0)
    padding = ((y0 - top, max(top + side - y1, 0)), (x0 - left, max(left + side - x1, 0)), (0, 0))
    return (np.pad(crop, padding, mode="reflect") if any(map(any, padding)) else crop)[:side, :side]
