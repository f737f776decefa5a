"""JPEG and PNG files, which their formats only allow to decode whole.

A file that would take more than a share of the machine's memory is rejected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from typing_extensions import override

from hist2st_pyg.image.base import FileImage, Pixels, Region, has_level, regions_of

MEMORY_SHARE = 0.25
"""The share of the machine's memory that decoding one image may take."""

DECODING_BYTES = 14
"""Bytes per pixel while an image is decoded: Pillow's four, and the copies until it is an array (measured)."""


class RasterImage(FileImage):
    """A JPEG or PNG file: decoded whole, once per :meth:`open`."""

    def _reader(self) -> Image.Image:
        # Use the format's own class: ``Image.open`` limits the size by a global setting that histology exceeds. The
        # limit here is the machine's memory.
        try:
            image = (PngImageFile if self.path.suffix.lower() == ".png" else JpegImageFile)(self.path)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{self.path} cannot be read as an image: {error}") from error
        if image.mode.startswith("I"):
            raise ValueError(f"{self.path} has 16-bit pixels; convert it to an 8-bit image.")
        return image

    @cached_property
    @override
    def size(self) -> tuple[int, int]:
        with self._reader() as image:
            # A photograph may be stored rotated; _rgb turns it upright. (The PNG reader's own getexif would decode.)
            turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) > 4
            return image.size[::-1] if turned else image.size

    @override
    @contextmanager
    def open(self, level: int = 0) -> Iterator[Region]:
        has_level(self, level)
        self._check_memory()
        with self._reader() as image:
            pixels = np.asarray(self._decoded(image))
        yield regions_of(pixels)

    def _check_memory(self) -> None:
        width, height = self.size
        needed, allowed = DECODING_BYTES * width * height, int(MEMORY_SHARE * memory_bytes())
        if needed > allowed:
            raise ValueError(
                f"{self.path} is {width} x {height} px and would take {needed / 2**30:.1f} GiB decoded; the limit on "
                f"this machine is {allowed / 2**30:.1f} GiB. Convert it to a tiled TIFF, which is read by regions."
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
            image.draft("RGB", (longest, longest))  # JPEG decodes directly to about this size
            small = self._decoded(image)
        small.thumbnail((longest, longest), Image.Resampling.BOX)
        return np.asarray(small)


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
