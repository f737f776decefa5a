"""The interface of histology images: size, levels, resolution, and the pixels of a region."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import override

Pixels = NDArray[np.uint8]
Region = Callable[[int, int, int, int], Pixels]
"""``region(x, y, width, height)`` in pixels, inside the level -> uint8 [height, width, 3]."""

BLOCK_PIXELS = 4096
"""Side of the regions in which a whole level is read, in pixels: larger than a tile, 50 MB decoded."""

TILE = 256
"""Side of a tile in pixels, if the file does not state it."""

SAME_RESOLUTION = 0.01
"""Downsamples and resolutions that differ by less than this share count as equal, because scanners round them."""


class HistologyImage(ABC):
    """An RGB image of a tissue section; x runs right, y runs down, both in pixels.

    A slide scanner writes a pyramid: level 0 has the full resolution, each further level is a smaller copy. A subclass
    must define ``size``, ``fingerprint`` and ``open``; by default it has one level and unknown resolution.
    """

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the content."""

    @abstractmethod
    def open(self, level: int = 0) -> AbstractContextManager[Region]:
        """Open the pixels of one level; yields a function that reads one region, in that level's pixels."""

    @property
    def um_per_pixel(self) -> float | None:
        """Resolution of level 0 in µm per pixel as the file states it, else None."""
        return None

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """The factor by which each level is smaller than level 0, ascending from 1.0."""
        return (1.0,)

    @property
    def level_sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level in pixels."""
        width, height = self.size
        return tuple((max(1, round(width / d)), max(1, round(height / d))) for d in self.level_downsamples)

    def level_for(self, downsample: float) -> int:
        """The coarsest level that is at most ``downsample`` times smaller than level 0.

        Args:
            downsample: Level-0 pixels for each required pixel; below 1 gives level 0.
        """
        fits = [i for i, own in enumerate(self.level_downsamples) if own <= downsample * (1 + SAME_RESOLUTION)]
        return fits[-1] if fits else 0

    def tile_size(self, level: int = 0) -> tuple[int, int]:
        """Width and height of the tiles, which are decoded whole, in the level's pixels."""
        return TILE, TILE

    def block_size(self, level: int = 0) -> tuple[int, int]:
        """Width and height of the regions for reading a whole level, chosen so that few tiles are decoded twice."""
        wide, high = self.tile_size(level)
        # A strip is as wide as the image.
        return (BLOCK_PIXELS, BLOCK_PIXELS) if wide <= BLOCK_PIXELS else (wide, max(high, 2 * BLOCK_PIXELS**2 // wide))

    def is_blank(self, level: int, x: int, y: int, width: int, height: int) -> bool:
        """Whether the file is known to have no pixels in a region of a level, which then is white."""
        return False

    def thumbnail(self, longest: int = 1024) -> Pixels:
        """Shrink the image, for pictures and for tissue detection.

        The smallest level that is large enough is read block by block, so that memory does not grow with the slide.

        Args:
            longest: Upper bound of the longer side, in pixels.

        Returns:
            uint8 [height, width, 3].
        """
        level = max((i for i, size in enumerate(self.level_sizes) if max(size) >= longest), default=0)
        width, height = self.level_sizes[level]
        step = max(1, -(-max(width, height) // longest))
        small = np.full((-(-height // step), -(-width // step), 3), 255, dtype=np.uint8)
        # Blocks hold whole pixels of the result.
        wide, high = (-(-side // step) * step for side in self.block_size(level))
        with self.open(level) if level else self.open() as region:
            for y in range(0, height, high):
                for x in range(0, width, wide):
                    place = x, y, min(wide, width - x), min(high, height - y)
                    if self.is_blank(level, *place):  # a file may claim any size and hold few tiles
                        continue
                    shrunk = np.asarray(Image.fromarray(region(*place)).reduce(step))
                    top, left = y // step, x // step
                    small[top : top + shrunk.shape[0], left : left + shrunk.shape[1]] = shrunk
        return small


class FileImage(HistologyImage):
    """An image in a file, opened lazily.

    Args:
        path: The image file.

    Raises:
        FileNotFoundError: If the file does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no image file {self.path}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @override
    def fingerprint(self) -> str:
        with self.path.open("rb") as file:
            # Processors compute SHA-256 in hardware, at about the speed of reading the file.
            return hashlib.file_digest(file, "sha256").hexdigest()


def check_level(image: HistologyImage, level: int) -> None:
    """Check that an image has a level.

    Raises:
        ValueError: If it does not.
    """
    last = len(image.level_downsamples) - 1
    if not 0 <= level <= last:
        has = f"the levels 0 to {last}" if last else "one level, 0"
        raise ValueError(f"{image!r} has {has}, got level={level}.")


def downsamples(sizes: Sequence[tuple[int, int]]) -> tuple[float, ...]:
    """The factor by which each level is smaller than the first.

    Sizes are rounded, so a whole factor that explains both sides of two levels to a pixel counts as exact.

    Args:
        sizes: Width and height of each level in pixels, descending.
    """
    found = [1.0]
    for (width, height), (wide, high) in pairwise(sizes):
        ratio = (width / wide + height / high) / 2
        whole = round(ratio)
        exact = abs(width / whole - wide) < 1 and abs(height / whole - high) < 1
        found.append(found[-1] * (whole if exact else ratio))
    return tuple(found)


def three_channels(array: Pixels) -> Pixels:
    """[height, width] or [height, width, 3 or 4] -> [height, width, 3]; transparent pixels become white."""
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    if array.shape[2] == 3:
        return array
    alpha = array[..., 3:].astype(np.uint16)
    return ((array[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def regions_of(array: Any) -> Region:
    """Read regions of an array [height, width] or [height, width, 3 or 4], in memory or lazy."""

    def region(x: int, y: int, width: int, height: int) -> Pixels:
        return three_channels(np.asarray(array[y : y + height, x : x + width]))

    return region
