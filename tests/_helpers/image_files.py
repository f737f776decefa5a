"""Made images and the files that tests read them from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from hist2st_pyg.image import HistologyImage

WIDTH, HEIGHT = 300, 130


def picture() -> NDArray[np.uint8]:
    """Smooth, and different at each corner."""
    x, y = np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT)[:, None]
    colors = np.stack([200 * x + 0 * y, 220 * y + 0 * x, 90 + 60 * x * y], axis=-1)
    return np.rint(colors).astype(np.uint8)


WRITERS: dict[str, Any] = {
    "image.png": lambda path: Image.fromarray(picture()).save(path),
    "image.jpg": lambda path: Image.fromarray(picture()).save(path, quality=100, subsampling=0),
    "plain.tif": lambda path: tifffile.imwrite(path, picture(), photometric="rgb"),
    "tiles.tif": lambda path: tifffile.imwrite(path, picture(), photometric="rgb", tile=(32, 32)),
    "strips.tif": lambda path: tifffile.imwrite(path, picture(), photometric="rgb", rowsperstrip=9),
    "packed.tif": lambda path: tifffile.imwrite(
        path, picture(), photometric="rgb", rowsperstrip=9, compression="deflate"
    ),
}


def tissue(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Color that changes over some ten pixels, uint8 [height, width, 3]."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width, 3)), (6, 6, 0))
    return np.rint((150 + 40 * noise / noise.std()).clip(0, 255)).astype(np.uint8)


def pyramid(base: NDArray[np.uint8], factors: Sequence[int]) -> list[NDArray[np.uint8]]:
    """The image and its averages over squares, their sides rounded down as scanners do."""
    height, width = base.shape[:2]
    return [np.asarray(Image.fromarray(base).reduce(f))[: height // f, : width // f] for f in factors]


def write_slide(path: Path, levels: Sequence[NDArray[np.uint8]], mpp: str = "0.4990", **options: Any) -> None:
    """Write a tiled TIFF whose description OpenSlide takes for Aperio's."""
    height, width = levels[0].shape[:2]
    description = f"Aperio Image Library v12.0.15 \n{width}x{height} (256x256) JPEG/RGB Q=70|AppMag = 20|MPP = {mpp}"
    settings = {"photometric": "rgb", "description": description, "metadata": None}
    tiled = {"tile": (256, 256), "compression": "deflate", **settings, **options}
    with tifffile.TiffWriter(path) as tif:
        tif.write(levels[0], **tiled)
        tif.write(np.zeros((20, 40, 3), np.uint8), **settings)  # the second page is a thumbnail
        for level in levels[1:]:
            tif.write(level, **tiled)


def read(image: HistologyImage, level: int = 0) -> NDArray[np.uint8]:
    """A whole level."""
    with image.open(level) as region:
        return region(0, 0, *image.level_sizes[level])
