"""JPEG and PNG files, which can only be decoded whole.

A file that would take more than a share of the machine's memory is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from typing_extensions import override

from hist2st_pyg.image.base import FileImage, Pixels, Region, check_level
from hist2st_pyg.image.memory import check_memory
from hist2st_pyg.utils.reading import check_unpacked, reading

KIND = "a JPEG or PNG image"

DECODED_BYTES = 4
"""Bytes per pixel that Pillow keeps of a decoded image; twice as many while it is converted to RGB or rotated."""

PROGRESSIVE_BYTES = 6
"""Further bytes per pixel of a progressive JPEG, whose coefficients are kept until the last pass."""

BAND_ROWS = 512
"""Number of rows that are converted to RGB at a time."""


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
        check_level(self, level)
        with self._reader() as image:
            self._check_size(image.size, image)
            decoded = self._decoded(image)

        def region(x: int, y: int, width: int, height: int) -> Pixels:
            return np.asarray(decoded.crop((x, y, x + width, y + height)))

        yield region

    @override
    def tile_size(self, level: int = 0) -> tuple[int, int]:
        return 1, 1  # the image is decoded, so a region costs only its own pixels

    def _check_size(self, size: tuple[int, int], image: Image.Image) -> None:
        """Refuse a stated size that the file cannot hold, or an image (possibly drafted) that takes too much memory."""
        stated = size[0] * size[1]
        check_unpacked(self.path, self.path.stat().st_size, len(image.getbands()) * stated)
        as_stored = image.mode == "RGB" and self._orientation(image) == 1
        needed = DECODED_BYTES * (1 if as_stored else 2) * image.width * image.height
        if "progressive" in image.info:
            needed += PROGRESSIVE_BYTES * stated
        check_memory(self.path, needed, f"{size[0]} x {size[1]} px")

    def _decoded(self, image: Image.Image) -> Image.Image:
        """Decode, drop transparency, and rotate upright by EXIF's orientation."""
        with reading(self.path, KIND):
            image.load()
            decoded = _rgb(image)
            ImageOps.exif_transpose(decoded, in_place=True)
        return decoded

    @override
    def thumbnail(self, longest: int = 1024) -> Pixels:
        with self._reader() as image:
            size = image.size
            image.draft("RGB", (longest, longest))  # JPEG decodes directly to about this size
            self._check_size(size, image)
            small = self._decoded(image)
        small.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(small)


def _rgb(image: Image.Image) -> Image.Image:
    """Replace transparency by white (as on slides) and convert every mode to RGB, in bands of rows."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    rgb = Image.new("RGB", image.size)
    rgb.info = image.info  # with the orientation
    for y in range(0, image.height, BAND_ROWS):
        band = image.crop((0, y, image.width, min(y + BAND_ROWS, image.height)))
        if "A" in image.getbands() or "transparency" in image.info:
            band = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
        rgb.paste(band.convert("RGB"), (0, y))
    return rgb
