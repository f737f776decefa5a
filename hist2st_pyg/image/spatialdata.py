"""Images in a SpatialData store, read by regions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from hist2st_pyg.image.base import BLOCK_PIXELS, HistologyImage, Pixels, Region, check_level, downsamples
from hist2st_pyg.utils.reading import check_unpacked, reading

KIND = "an image of a SpatialData store"


class StoreImage(HistologyImage):
    """An image element of a SpatialData store, read by regions.

    Args:
        store: The store.
        key: The image's key.

    Raises:
        FileNotFoundError: If the store does not hold the image.
        ValueError: If the image is not 8-bit RGB.
    """

    def __init__(self, store: str | Path, key: str) -> None:
        self.folder = Path(store) / "images" / key
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{store} has no image {key!r}.")
        with reading(store, KIND):
            axes, levels = self._levels()
        channels, dtype = dict(zip(axes, levels[0].shape, strict=True)).get("c"), levels[0].dtype
        if axes != ["c", "y", "x"] or channels != 3 or dtype != np.uint8:
            raise ValueError(
                f"{store}: image {key!r} must be 8-bit RGB (uint8; axes c, y, x; 3 channels), got {dtype} with axes "
                f"{', '.join(axes)} and {channels} channels."
            )
        check_unpacked(store, sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file()), levels[0].nbytes)
        self._level_sizes = tuple((int(level.shape[2]), int(level.shape[1])) for level in levels)
        self._chunks = tuple((int(level.chunks[2]), int(level.chunks[1])) for level in levels)

    def _levels(self) -> tuple[list[str], list[Any]]:
        """The axes and the zarr array of each level; OME-Zarr 0.5 nests them one level deeper than 0.4."""
        import zarr

        group = zarr.open_group(self.folder, mode="r")
        multiscale = group.attrs.get("ome", group.attrs)["multiscales"][0]
        return [axis["name"] for axis in multiscale["axes"]], [group[level["path"]] for level in multiscale["datasets"]]

    def __repr__(self) -> str:
        return f"StoreImage({str(self.folder)!r})"

    @property
    @override
    def size(self) -> tuple[int, int]:
        return self._level_sizes[0]

    @property
    @override
    def level_sizes(self) -> tuple[tuple[int, int], ...]:
        return self._level_sizes

    @property
    @override
    def level_downsamples(self) -> tuple[float, ...]:
        return downsamples(self._level_sizes)

    @override
    def tile_size(self, level: int = 0) -> tuple[int, int]:
        return self._chunks[level]

    @override
    def block_size(self, level: int = 0) -> tuple[int, int]:
        # Chunks may be large, so no chunk should lie in two blocks.
        wide, high = (side * max(1, BLOCK_PIXELS // side) for side in self._chunks[level])
        return wide, high

    @override
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        folder = self.folder / self._levels()[1][0].path
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
        return digest.hexdigest()

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        check_level(self, level)
        with reading(self.folder, KIND):
            array = self._levels()[1][level]

        def region(x: int, y: int, width: int, height: int) -> Pixels:
            with reading(self.folder, KIND):
                return np.ascontiguousarray(array[:, y : y + height, x : x + width].transpose(1, 2, 0))

        yield region
