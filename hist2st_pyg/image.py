"""Histology images that are opened only when their pixels are needed.

JPEG and PNG are decoded whole (the formats allow nothing else) and refused where that would take more than a share of
the machine's memory; TIFF is read by regions, whatever its size.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from typing_extensions import override

Pixels = NDArray[np.uint8]
Region = Callable[[int, int, int, int], Pixels]
"""``region(x, y, width, height)`` in pixels, inside the image -> uint8 [height, width, 3]."""

MEMORY_SHARE = 0.25
"""The share of the machine's memory that decoding one image may take."""

DECODING_BYTES = 14
"""Bytes a pixel while an image is decoded whole: Pillow's own four, the copies on the way to an array (measured)."""

PHOTOMETRIC = {"MINISBLACK", "RGB", "YCBCR"}
"""TIFF colours that are grey or RGB once decoded."""


class HistologyImage(ABC):
    """An RGB image of a tissue section; x runs right, y runs down, both in full-resolution pixels."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the content."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Region]:
        """Open the pixels; the block gets a function that reads one region."""

    def thumbnail(self, longest: int = 1024) -> Pixels:
        """Shrink the image, for pictures and for finding tissue.

        Args:
            longest: Upper bound of the longer side, in pixels.

        Returns:
            uint8 [height, width, 3].
        """
        width, height = self.size
        with self.open() as region:
            image = Image.fromarray(region(0, 0, width, height))
        image.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(image)


class ArrayImage(HistologyImage):
    """An image that is already in memory.

    Args:
        array: uint8 [height, width, 3].

    Raises:
        TypeError: If the array is not uint8.
        ValueError: If the array is not [height, width, 3].
    """

    def __init__(self, array: NDArray[Any]) -> None:
        if array.dtype != np.uint8:
            raise TypeError(f"An image array is uint8 (0 to 255), got {array.dtype}; scale and convert it first.")
        if array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(f"An image array has shape [height, width, 3], got {list(array.shape)}.")
        self.array = array

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
    def open(self) -> Iterator[Region]:
        yield _regions_of(self.array)


class FileImage(HistologyImage):
    """An image in a file, opened lazily.

    Args:
        path: The image file.

    Raises:
        FileNotFoundError: If there is no such file.
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
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class RasterImage(FileImage):
    """A JPEG or PNG file: decoded whole, once per :meth:`open`."""

    def _reader(self) -> Image.Image:
        # The format's own class is used because ``Image.open`` guards against large images by a global setting, and
        # histology is larger; the guard here is the machine's memory.
        try:
            image = (PngImageFile if self.path.suffix.lower() == ".png" else JpegImageFile)(self.path)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{self.path} cannot be read as an image: {error}") from error
        if image.mode.startswith("I"):
            raise ValueError(f"{self.path} has 16-bit pixels; an 8-bit image is expected.")
        return image

    @cached_property
    @override
    def size(self) -> tuple[int, int]:
        with self._reader() as image:
            # A photograph may be stored on its side; _rgb puts it upright. (The PNG reader's own getexif would decode.)
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) > 4
            return image.size[::-1] if turned else image.size

    @override
    @contextmanager
    def open(self) -> Iterator[Region]:
        self._check_memory()
        with self._reader() as image:
            pixels = np.asarray(self._decoded(image))
        yield _regions_of(pixels)

    def _check_memory(self) -> None:
        width, height = self.size
        needed, allowed = DECODING_BYTES * width * height, int(MEMORY_SHARE * memory_bytes())
        if needed > allowed:
            raise ValueError(
                f"{self.path} is {width} x {height} px and would take {needed / 2**30:.1f} GiB decoded, more than "
                f"{allowed / 2**30:.1f} GiB, this machine's share for one image. Convert it to a tiled TIFF, which is "
                "read by regions."
            )

    def _decoded(self, image: Image.Image) -> Image.Image:
        try:
            return _rgb(image)
        except OSError as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error

    @override
    def thumbnail(self, longest: int = 1024) -> Pixels:
        if self.path.suffix.lower() == ".png":
            self._check_memory()
        with self._reader() as image:
            image.draft("RGB", (longest, longest))  # JPEG decodes straight to about this size
            small = self._decoded(image)
        small.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(small)


class TiffImage(FileImage):
    """A TIFF, pyramidal or plain: regions are decoded tile by tile (or strip by strip)."""

    @contextmanager
    def _level(self, longest: int | None) -> Iterator[Any]:
        """Open the smallest level that still has ``longest`` pixels, or the first; a lazy array [height, width, S]."""
        import tifffile
        import zarr

        try:
            file = tifffile.TiffFile(self.path)
        except tifffile.TiffFileError as error:
            raise ValueError(f"{self.path} cannot be read as an image: {error}") from error
        with file as tif:
            series = tif.series[0]
            if series.dtype != np.uint8 or series.axes not in ("YX", "YXS"):
                raise ValueError(
                    f"{self.path} holds {series.dtype} with axes {series.axes}; an 8-bit RGB or grey image (axes YXS "
                    "or YX) is expected."
                )
            photometric = series.keyframe.photometric.name
            if photometric not in PHOTOMETRIC or (series.axes == "YXS" and series.shape[2] not in (3, 4)):
                raise ValueError(
                    f"{self.path} has {photometric} colours with shape {series.shape}; convert it to RGB or grey."
                )
            levels = [index for index, level in enumerate(series.levels) if max(level.shape[:2]) >= (longest or 0)]
            index = levels[-1] if longest and levels else 0
            yield zarr.open(series.aszarr(level=index), mode="r")

    @cached_property
    @override
    def size(self) -> tuple[int, int]:
        with self._level(None) as array:
            return int(array.shape[1]), int(array.shape[0])

    @override
    @contextmanager
    def open(self) -> Iterator[Region]:
        with self._level(None) as array:
            yield _regions_of(array)

    @override
    def thumbnail(self, longest: int = 1024) -> Pixels:
        with self._level(longest) as array:
            height, width = array.shape[:2]
            step = max(1, -(-max(width, height) // longest))
            # Bands of whole shrunken rows keep the memory at one band, however large the slide.
            bands, rows = [], step * max(1, 2**22 // (step * width))
            for top in range(0, height - height % step or height, rows):
                band = Image.fromarray(_three(np.asarray(array[top : min(top + rows, height)])))
                bands.append(np.asarray(band.reduce(step)))
        small = Image.fromarray(np.concatenate(bands))
        small.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(small)


FORMATS: dict[str, type[FileImage]] = {
    ".jpg": RasterImage,
    ".jpeg": RasterImage,
    ".png": RasterImage,
    ".tif": TiffImage,
    ".tiff": TiffImage,
}


def open_image(image: HistologyImage | NDArray[Any] | str | Path) -> HistologyImage:
    """Wrap whatever a user has as an image.

    Args:
        image: An array uint8 [height, width, 3], the path of a JPEG, PNG or TIFF file, or a :class:`HistologyImage`.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is none of these.
        ValueError: If the file's format is not supported.
    """
    if isinstance(image, HistologyImage):
        return image
    if isinstance(image, np.ndarray):
        return ArrayImage(image)
    if not isinstance(image, str | Path):
        raise TypeError(f"An image is an array, a path or a HistologyImage, got {type(image).__name__}.")
    suffix = Path(image).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{image}: image format {suffix!r} is not supported; use one of {', '.join(FORMATS)}.")
    return FORMATS[suffix](image)


def memory_bytes() -> int:
    """The machine's physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _rgb(image: Image.Image) -> Image.Image:
    """Drop transparency onto white (as slides are) and make every mode RGB."""
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _three(array: Pixels) -> Pixels:
    """[height, width] or [height, width, 3 or 4] -> [height, width, 3]; what is transparent becomes white."""
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    if array.shape[2] == 3:
        return array
    alpha = array[..., 3:].astype(np.uint16)
    return ((array[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def _regions_of(array: Any) -> Region:
    def region(x: int, y: int, width: int, height: int) -> Pixels:
        return _three(np.asarray(array[y : y + height, x : x + width]))

    return region
