"""Image files with several resolutions, read by regions."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hist2st_pyg.image.base import FileImage, downsamples


class Layout(NamedTuple):
    """The properties of a file that are read once, without its pixels.

    Args:
        sizes: Width and height of each level in pixels, descending.
        tiles: Width and height of each level's tiles in pixels.
        um_per_pixel: Resolution of level 0 in µm per pixel; None if the file does not state it.
        present: Which tiles of each level the file has, bool [rows, columns]; None or empty if it has all.
    """

    sizes: tuple[tuple[int, int], ...]
    tiles: tuple[tuple[int, int], ...]
    um_per_pixel: float | None
    present: tuple[NDArray[np.bool_] | None, ...] = ()


class PyramidImage(FileImage):
    """A file whose layout a subclass reads."""

    @abstractmethod
    def _read_layout(self) -> Layout:
        """Open the file and read its layout."""

    @cached_property
    def _layout(self) -> Layout:
        return self._read_layout()

    @property
    @override
    def size(self) -> tuple[int, int]:
        return self._layout.sizes[0]

    @property
    @override
    def level_sizes(self) -> tuple[tuple[int, int], ...]:
        return self._layout.sizes

    @property
    @override
    def level_downsamples(self) -> tuple[float, ...]:
        return downsamples(self._layout.sizes)

    @property
    @override
    def um_per_pixel(self) -> float | None:
        return self._layout.um_per_pixel

    @override
    def tile_size(self, level: int = 0) -> tuple[int, int]:
        return self._layout.tiles[level]

    @override
    def is_blank(self, level: int, x: int, y: int, width: int, height: int) -> bool:
        present = self._layout.present[level] if self._layout.present else None
        if present is None:
            return False
        wide, high = self.tile_size(level)
        return not present[y // high : -(-(y + height) // high), x // wide : -(-(x + width) // wide)].any()
