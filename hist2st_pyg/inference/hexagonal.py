"""Hexagonal grids of spots, for images without measured spots."""

from __future__ import annotations

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.spots import Spots

ROW_DISTANCE = np.sqrt(3) / 2
"""Distance of a hexagonal grid's rows, in pitches."""


def hexagonal_grid(size: tuple[int, int], pitch: float) -> Spots:
    """Lay spots on a hexagonal grid, each with six neighbors at the distance of one pitch.

    Rows are pitch · √3/2 apart and odd rows are shifted right by half a pitch. Centers keep half a pitch from the
    image's border.

    Args:
        size: Width and height of the image in pixels.
        pitch: Distance between the centers of neighboring spots in pixels.

    Returns:
        Spots named ``hex_<row>_<column>``, row by row.

    Raises:
        ValueError: If the pitch is below one pixel or no spot fits on the image.
    """
    width, height = size
    if not (np.isfinite(pitch) and pitch >= 1):
        raise ValueError(f"pitch must be 1 pixel or more, got {pitch!r}.")
    if min(width, height) < pitch:
        raise ValueError(f"No spot fits: the pitch is {pitch:g} px and the image is {width} x {height} px.")
    step = pitch * ROW_DISTANCE
    column, row = np.meshgrid(np.arange(int(width / pitch)), np.arange(int((height - pitch) / step) + 1))
    x, y = pitch / 2 * (1 + 2 * column + row % 2), pitch / 2 + step * row
    fits = x <= width - pitch / 2
    places = np.stack([column[fits], row[fits]], axis=1)
    return Spots([f"hex_{r}_{c}" for c, r in places], np.stack([x[fits], y[fits]], axis=1), places)


def inside(spots: Spots, mask: NDArray[np.bool_], scale: float) -> Spots:
    """Keep the spots whose center lies on a mask.

    Args:
        spots: The spots; they keep their names, and their array columns and rows start from 0 again.
        mask: bool [h, w], as :func:`~hist2st_pyg.image.tissue.tissue_mask` returns it.
        scale: Mask pixels per full-resolution pixel, at most 1 for a thumbnail.

    Raises:
        TypeError: If the mask is not boolean.
        ValueError: If the mask is not [h, w], the scale is not positive, or no spot lies on the mask.
    """
    if mask.dtype != bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}.")
    if mask.ndim != 2:
        raise ValueError(f"mask must have shape [h, w], got {list(mask.shape)}.")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale (mask pixels per full-resolution pixel) must be positive, got {scale!r}.")
    x, y = np.floor(spots.pos * scale).astype(np.int64).T
    keep = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    keep[keep] = mask[y[keep], x[keep]]
    if not keep.any():
        raise ValueError(
            f"None of the {len(spots)} spots lies on the tissue; set a smaller pitch, or check that the positions are "
            "in full-resolution pixels of this image."
        )
    places = spots.grid[keep]
    return Spots(list(compress(spots.names, keep)), spots.pos[keep], places - places.min(axis=0))


def interleaved(
    pos: NDArray[np.float64], pitch: float, factor: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Divide a hexagonal grid into ``factor``² interleaved grids of ``factor`` times its pitch.

    Args:
        pos: Spots [N, 2] of one hexagonal grid, possibly with gaps.
        pitch: Its pitch, in the unit of ``pos``.
        factor: Pitch of the coarser grids divided by ``pitch``.

    Returns:
        The spots of each non-empty grid, and every spot's column and row on its own grid, int [N, 2] from 0.
    """
    x, y = ((pos - pos[0]) / pitch).T
    row = np.rint(y / ROW_DISTANCE).astype(np.int64)
    # Along axes at 60 degrees each step is one spot, so the coordinates modulo factor identify the coarser grid.
    column = np.rint(x - row / 2).astype(np.int64)
    places = np.stack([column // factor + row // factor // 2, row // factor], axis=1)
    # Subtract an even number of rows, so that the odd rows are still those shifted to the right.
    places -= [places[:, 0].min(), places[:, 1].min() // 2 * 2]
    own = column % factor * factor + row % factor
    return [np.flatnonzero(own == key) for key in np.unique(own)], places
