"""Array columns and rows for spots that come with pixel positions only."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)


def grid_from_positions(pos: ArrayLike) -> NDArray[np.int64]:
    """Lay the spots on an array whose pitch is their median nearest-neighbour distance.

    Spots on a regular array (its axes along the image's) get distinct places; spots at random places may share one.

    Args:
        pos: Spot centres x, y in pixels, [N, 2].

    Returns:
        Array column and row, int [N, 2], each from 0.

    Raises:
        ValueError: If ``pos`` is not finite [N, 2], or if most spots lie on one another.
    """
    from scipy.spatial import cKDTree

    positions = np.asarray(pos, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or not np.isfinite(positions).all():
        raise ValueError(f"Positions are finite, [N, 2], got shape {list(positions.shape)}.")
    if len(positions) < 2:
        return np.zeros(positions.shape, dtype=np.int64)
    distance, _ = cKDTree(positions).query(positions, k=2)
    pitch = float(np.median(distance[:, 1]))
    if pitch <= 0:
        raise ValueError("Most spots lie on one another (median nearest-neighbour distance 0); there is no array.")
    grid: NDArray[np.int64] = np.rint((positions - positions.min(axis=0)) / pitch).astype(np.int64)
    logger.info(
        "array columns and rows were derived from the positions (pitch %.1f px, %d spots on %d places)",
        pitch,
        len(grid),
        len(np.unique(grid, axis=0)),
    )
    return grid
