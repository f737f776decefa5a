"""JPEG and PNG files, which their formats only allow to decode whole.

A file that would take more than a share of the machine's memory is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from typing_extensions import override

from hist2st_pyg.image.base import FileImage, Pixels, Region, has_level, regions_of
from hist2st_pyg.image.memory import check_memory
from hist2st_pyg.utils.reading import check_unpacked, reading

KIND = "a JPEG or PNG image"

DECODING_BYTES = 7
"""Bytes per pixel at the peak of decoding: Pillow's four and the array's three; the rest is done in bands."""

PROGRESSIVE_BYTES = 6
"""Bytes per pixel that a progressive JPEG takes besides, whose coefficients are kept until the last pass."""

BAND_ROWS = 512
"""Rows that are made RGB at once."""

UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""What turns a photograph that is stored turned or mirrored upright, without a copy, by EXIF's orientation."""


class RasterImage(FileImage):
    """A JPEG or PNG file: decoded whole, once per :meth:`open`."""

    @contextmanager
    def _reader(self) -> Iterator[Image.Image]:
        # Use the format's own class: ``Image.open`` limits the size by a global setting that histology exceeds. The
        # limit here is the machine's memory.
        with reading(self.path, KIND):
            image = (PngImageFile if self.path.suffix.lower() == ".png" else JpegImageFile)(self.path)
        with image:
            if image.mode.startswith("I"):
                raise ValueError(f"{self.path} has 16-bit pixels; convert it to an 8-bit image.")
            yield image

    def _orientation(self, image: Image.Image) -> int:
        # The PNG reader's own getexif would decode.
        with reading(self.path, KIND):
            return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))

    @cached_property
    @override
    def size(self) -> tuple[int, int]:
        with self._reader() as image:
            return image.size[::-1] if self._orientation(image) > 4 else image.size

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        has_level(self, level)
        with self._reader() as image:
            self._check_size(image.size, image)
            pixels = self._pixels(image)
        yield regions_of(pixels)

    def _check_size(self, size: tuple[int, int], image: Image.Image) -> None:
        """Refuse a stated size that the file cannot hold, or an image (drafted, perhaps) that takes too much memory."""
        stated = size[0] * size[1]
        check_unpacked(self.path, self.path.stat().st_size, len(image.getbands()) * stated)
        needed = DECODING_BYTES * image.width * image.height
        if "progressive" in image.info:
            needed += PROGRESSIVE_BYTES * stated
        check_memory(self.path, needed, f"{size[0]} x {size[1]} px")

    def _pixels(self, image: Image.Image) -> Pixels:
        """Decode, drop transparency, and turn upright: uint8 [height, width, 3]."""
        with reading(self.path, KIND):
            orientation = self._orientation(image)
            image.load()
            width, height = image.size
            pixels = np.empty((height, width, 3), dtype=np.uint8)
            for y in range(0, height, BAND_ROWS):
                rows = min(BAND_ROWS, height - y)
                pixels[y : y + rows] = np.asarray(_rgb(image.crop((0, y, width, y + rows))))
            return UPRIGHT[orientation](pixels) if orientation in UPRIGHT else pixels

    @override
    def thumbnail(self, longest: int = 1024) -> Pixels:
        with self._reader() as image:
            size = image.size
            image.draft("RGB", (longest, longest))  # JPEG decodes directly to about this size
            self._check_size(size, image)
            small = Image.fromarray(self._pixels(image))
        small.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(small)


def _rgb(image: Image.Image) -> Image.Image:
    """Drop transparency onto white (as slides are) and make every mode RGB."""
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
