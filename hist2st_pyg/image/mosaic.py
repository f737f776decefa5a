"""An image put together from the patches of a slide, for data sets without the slide itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import override

from hist2st_pyg.image import FileImage, Pixels, Region
from hist2st_pyg.image.base import SAME_RESOLUTION, check_level
from hist2st_pyg.utils.reading import check_hdf5, reading

PATCH_UM = 112.0
"""Side of HEST's patches in µm: 224 pixels of 0.5 µm."""

KIND = "an HDF5 file of patches"

MOST_PIXELS = 2**20
"""Largest side of a slide in pixels."""

IMAGES = ("img", "imgs", "images")
BARCODES = ("barcode", "barcodes")


class PatchMosaic(FileImage):
    """HEST's patches at their places in the slide; the rest is white.

    Level 0 has the slide's pixels, so that positions stay valid. If the patches are coarser, level 1 has their pixels,
    which a field of view of that resolution gets unchanged. Where patches overlap, the later one is visible.

    Args:
        path: An ``.h5`` file of ``img`` uint8 [M, P, P, 3], ``coords`` [M, 2] (x, y of the upper left corner in the
            slide's pixels) and ``barcode`` [M]. The attribute ``patch_size_src`` of ``img``, if present, is the width
            of a patch in the slide's pixels.
        size: Width and height of the slide in pixels; None takes the area that the patches cover.
        um_per_pixel: Resolution of the slide in µm per pixel, if known; required if the file does not state the width
            of a patch.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is malformed, or the width of a patch is unknown.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int] | None = None, um_per_pixel: float | None = None
    ) -> None:
        super().__init__(path)
        check_hdf5(self.path, KIND)
        with self._file() as file, reading(self.path, KIND):
            self._key = _first_of(IMAGES, file, self.path)
            images, corners = file[self._key], np.asarray(file[_first_of(("coords",), file, self.path)])
            names = np.ravel(file[_first_of(BARCODES, file, self.path)])
            shape, dtype, side = images.shape, images.dtype, images.attrs.get("patch_size_src")
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or dtype != np.uint8 or shape[0] == 0:
            raise ValueError(f"{self.path}: {self._key} must be uint8 [M, P, P, 3], got {dtype} {list(shape)}.")
        if corners.shape != (shape[0], 2) or len(names) != shape[0]:
            raise ValueError(
                f"{self.path} has {shape[0]} patches, coords {list(corners.shape)} and {len(names)} barcodes; each "
                "patch needs x and y and a barcode."
            )
        if side is None:
            if um_per_pixel is None:
                raise ValueError(
                    f"{self.path} does not state the width of its patches in the slide's pixels, and the slide's "
                    "resolution is unknown; set um_per_pixel."
                )
            side = PATCH_UM / um_per_pixel
        self.side = float(side)
        """Side of a patch in the slide's pixels."""
        self.corners: NDArray[np.float64] = corners.astype(np.float64)
        """Upper left corner of each patch in the slide's pixels, x, y, [M, 2]."""
        self.barcodes = [name.decode() if isinstance(name, bytes) else str(name) for name in names]
        """The spot of each patch, [M]."""
        self._pixels = int(shape[1])
        if not np.isfinite(self.corners).all() or not 0 < self.side < math.inf:
            raise ValueError(f"{self.path} has patches whose corners or side are not finite.")
        right, bottom = np.ceil(self.corners.max(axis=0) + self.side)
        self._size = (int(right), int(bottom)) if size is None else size
        if max(self._size) > MOST_PIXELS or self.side > MOST_PIXELS:
            raise ValueError(
                f"{self.path} is of a slide of {self._size[0]} x {self._size[1]} px with patches of {self.side:g} px; "
                f"the limit is {MOST_PIXELS} px."
            )
        self._um_per_pixel = um_per_pixel

    @contextmanager
    def _file(self) -> Iterator[Any]:
        import h5py

        with reading(self.path, KIND):
            file = h5py.File(self.path, "r")
        with file:
            yield file

    @property
    def centers(self) -> NDArray[np.float64]:
        """Center of each patch in the slide's pixels, x, y, [M, 2]."""
        return self.corners + self.side / 2

    @property
    @override
    def size(self) -> tuple[int, int]:
        return self._size

    @property
    @override
    def um_per_pixel(self) -> float | None:
        return self._um_per_pixel

    @property
    @override
    def level_downsamples(self) -> tuple[float, ...]:
        coarser = self.side / self._pixels
        return (1.0, coarser) if coarser > 1 + SAME_RESOLUTION else (1.0,)

    @override
    def tile_size(self, level: int = 0) -> tuple[int, int]:
        side = self._pixels if level else max(1, round(self.side))
        return side, side

    @override
    def is_blank(self, level: int, x: int, y: int, width: int, height: int) -> bool:
        start, stop = (np.array(place) * self.level_downsamples[level] for place in ((x, y), (x + width, y + height)))
        # A pixel more on each side, because the positions of patches are rounded to pixels.
        return not ((self.corners <= stop + 1) & (self.corners + self.side >= start - 1)).all(axis=1).any()

    @override
    def fingerprint(self) -> str:
        return f"{super().fingerprint()}-{self.side:g}-{self._size}"

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        check_level(self, level)
        side, _ = self.tile_size(level)
        corners = np.rint(self.corners / self.level_downsamples[level]).astype(np.int64)
        with self._file() as file:
            patches = file[self._key]

            def region(x: int, y: int, width: int, height: int) -> Pixels:
                canvas = np.full((height, width, 3), 255, dtype=np.uint8)
                start, stop = np.maximum(corners - [x, y], 0), np.minimum(corners + side - [x, y], [width, height])
                for i in np.flatnonzero((start < stop).all(axis=1)):
                    with reading(self.path, KIND):
                        patch = patches[i]
                    if len(patch) != side:
                        resized = Image.fromarray(patch).resize((side, side), Image.Resampling.BILINEAR)
                        patch = np.asarray(resized)
                    (x0, y0), (x1, y1), (left, top) = start[i], stop[i], corners[i] - [x, y]
                    canvas[y0:y1, x0:x1] = patch[y0 - top : y1 - top, x0 - left : x1 - left]
                return canvas

            yield region


def _first_of(keys: tuple[str, ...], file: Any, path: Path) -> str:
    """The first of ``keys`` that the file holds."""
    for key in keys:
        if key in file:
            return key
    raise ValueError(f"{path} has no {' or '.join(keys)}; it has {', '.join(file) or 'nothing'}.")
