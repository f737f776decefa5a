"""Images in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import override

from hist2st_pyg.image.base import HistologyImage, Pixels, Region, check_level, regions_of


class ArrayImage(HistologyImage):
    """An image in memory.

    Args:
        array: uint8 [height, width, 3].

    Raises:
        TypeError: If the array is not uint8.
        ValueError: If the array is not [height, width, 3].
    """

    def __init__(self, array: NDArray[Any]) -> None:
        if array.dtype != np.uint8:
            raise TypeError(f"An image array must be uint8 (0 to 255), got {array.dtype}; scale and convert it first.")
        if array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(f"An image array must have shape [height, width, 3], got {list(array.shape)}.")
        self.array = array

    def __repr__(self) -> str:
        return f"ArrayImage({self.size[0]} x {self.size[1]} px)"

    @property
    @override
    def size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[0]

    @override
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(np.ascontiguousarray(self.array).data, digest_size=16)
        return f"{digest.hexdigest()}-{self.array.shape}"

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        check_level(self, level)
        yield regions_of(self.array)

    @override
    def thumbnail(self, longest: int = 1024) -> Pixels:
        image = Image.fromarray(self.array)
        image.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(image)
