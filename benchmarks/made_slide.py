"""Write a synthetic slide of any size, tissue on glass in a pyramid of JPEG tiles, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from hist2st_pyg.utils.files import atomic_path

TILE = 512
"""Side of a tile in pixels, as in scanners' files."""

CELL = 64
"""Side of a square of one tissue in the mosaic, in pixels of level 0."""

STAINS = np.array([[0.65, 0.70, 0.29], [0.16, 0.92, 0.35]])
"""Optical density (red, green, blue) of hematoxylin and eosin."""

TISSUES = ((0.0, 0.0, 0.0), (0.06, 0.10, 2.0), (0.14, 0.30, 6.0), (0.16, 0.20, 18.0), (0.22, 0.14, 40.0))
"""Hematoxylin, eosin, nuclei in 100 x 100 µm: glass, fat, stroma, tumor, immune cells."""


def make_slide(path: Path, size: int, um_per_pixel: float = 0.25, seed: int = 0) -> float:
    """Write a slide of tiled JPEG with its pyramid in SubIFDs, as in OME-TIFF.

    Tiles of one tissue are identical and encoded once, so that a slide of 100,000 pixels takes minutes instead of
    hours; reading decodes each tile as in a scanner's slide.

    Args:
        path: The TIFF file.
        size: Side in pixels.
        um_per_pixel: Resolution, stated in the file.
        seed: Seed of the tissue.

    Returns:
        The share of tissue in the slide.
    """
    import tifffile

    tissue = _mosaic(-(-size // CELL), seed)
    textures = _textures(um_per_pixel, seed)
    levels = [level for level in range(7) if level == 0 or size >> level >= 1024]
    with atomic_path(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True) as tif:
        for level in levels:
            side = -(-size // 2**level)
            tif.write(
                _tiles(tissue, textures, level, side),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression="jpeg",
                photometric="rgb",
                subsampling=(2, 2),
                resolution=(1e4 / um_per_pixel / 2**level,) * 2,
                resolutionunit="centimeter",
                subifds=len(levels) - 1 if level == 0 else 0,
                subfiletype=int(level > 0),
                metadata=None,
            )
    return float((tissue > 0).mean())


def _mosaic(cells: int, seed: int) -> NDArray[np.uint8]:
    """Generate the tissue of each square, [cells, cells], 0 for glass: three sections of several tissues."""
    rng = default_rng([seed, 0])
    across = np.linspace(-1, 1, cells)
    outline = np.full((cells, cells), -np.inf)
    for x, y, wide, high in ((-0.45, -0.4, 0.45, 0.5), (0.5, -0.3, 0.35, 0.55), (-0.1, 0.62, 0.7, 0.28)):
        distance = ((across - x) / wide) ** 2 + ((across[:, None] - y) / high) ** 2
        outline = np.maximum(outline, 1 - distance)
    outline += 0.35 * _smooth(rng, cells, 24) + 0.15 * _smooth(rng, cells, 80)
    kinds = np.stack([_smooth(rng, cells, 16) + 0.3 * _smooth(rng, cells, 160) for _ in TISSUES[1:]]).argmax(0)
    return np.where(outline > 0, 1 + kinds, 0).astype(np.uint8)


def _smooth(rng: np.random.Generator, side: int, waves: int) -> NDArray[np.float64]:
    """Generate a random field [side, side] of unit deviation with about ``waves`` / 4 maxima along a side."""
    coarse = gaussian_filter(rng.normal(size=(waves + 4, waves + 4)), 2)
    field = zoom(coarse, side / waves, order=1)[:side, :side]
    return np.asarray((field - field.mean()) / coarse.std())


def _textures(um_per_pixel: float, seed: int) -> NDArray[np.uint8]:
    """Generate the texture of each tissue, uint8 [tissues, TILE, TILE, 3], periodic at its borders."""
    rng = default_rng([seed, 1])
    radius = 3.0 / um_per_pixel
    pictures = []
    for hematoxylin, eosin, nuclei in TISSUES:
        points = rng.random((TILE, TILE)) < nuclei * (um_per_pixel / 100) ** 2
        blobs = np.minimum(2 * np.pi * radius**2 * gaussian_filter(points.astype(float), radius, mode="wrap"), 1.2)
        fibers = gaussian_filter(rng.normal(size=(TILE, TILE)), (2, 9), mode="wrap")
        stain = np.stack([hematoxylin + 0.55 * blobs, eosin * np.exp(0.35 * fibers / fibers.std())], axis=-1)
        light = 243 * 10.0 ** -(stain @ STAINS) + rng.normal(0, 2, (TILE, TILE, 3))
        pictures.append(np.clip(np.rint(light), 0, 255).astype(np.uint8))
    return np.stack(pictures)


def _tiles(tissue: NDArray[np.uint8], textures: NDArray[np.uint8], level: int, side: int) -> Iterator[bytes]:
    """Yield the encoded tiles of a level, row by row."""
    from imagecodecs import jpeg_encode

    shrunk = 2**level
    small = TILE // shrunk
    means = textures.reshape(len(textures), small, shrunk, small, shrunk, 3).mean((2, 4))
    repeated = np.tile(np.rint(means).astype(np.uint8), (1, shrunk, shrunk, 1))
    cells, pixels = TILE * shrunk // CELL, CELL // shrunk
    y, x = np.ogrid[:TILE, :TILE]

    def encoded(pixels: NDArray[np.uint8]) -> bytes:
        return bytes(jpeg_encode(pixels, level=80, colorspace="RGB", outcolorspace="YCBCR", subsampling=(2, 2)))

    @lru_cache
    def of_one(kind: int) -> bytes:
        return encoded(repeated[kind])

    for top in range(0, -(-side // TILE) * cells, cells):
        for left in range(0, -(-side // TILE) * cells, cells):
            part = tissue[top : top + cells, left : left + cells]
            if (part == part[0, 0]).all():
                yield of_one(int(part[0, 0]))
                continue
            # The parts of tiles beyond the slide are glass.
            kinds = np.zeros((cells, cells), np.uint8)
            kinds[: part.shape[0], : part.shape[1]] = part
            yield encoded(repeated[kinds.repeat(pixels, 0).repeat(pixels, 1), y, x])
