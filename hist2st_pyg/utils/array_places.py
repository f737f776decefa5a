"""Estimate an array's pitch, and the column and row of each spot, from the spots' positions."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)

LEAST_AGREEMENT = 0.5
"""Least agreement of the spots with a step (1: all lie exactly on it) for an axis to count as regular."""

WINDOW = 512
"""Width of the window around the median spot, in pitches, for estimating the step: one far spot adds no run time."""

FARTHEST = 2**31
"""Largest extent of the positions, in pitches."""

MOST_OFF = 0.25
"""Largest median distance of the spots from their places on an array, in pitches."""

MOST_SPOTS = 10_000
"""Largest number of spots for estimating the step; more are subsampled evenly."""


def spot_pitch(pos: NDArray[np.float64]) -> float:
    """Median distance to the nearest other spot, in the unit of ``pos`` [N, 2]; 1 for a single spot.

    Raises:
        ValueError: If it is 0.
    """
    from scipy.spatial import cKDTree

    if len(pos) < 2:
        return 1.0
    pitch = float(np.median(cKDTree(pos).query(pos, k=2)[0][:, 1]))
    if pitch == 0:
        raise ValueError("More than half of the spots share their position with another.")
    return pitch


def grid_from_positions(pos: ArrayLike) -> NDArray[np.int64]:
    """Find each spot's place on an array whose axes are parallel to the image's.

    The step along an axis is the one, near the pitch, that fits all spots best. Spots of a square or staggered array
    get distinct places (every other row of a staggered array is shifted by half a column). Without a regular array
    (for example of cells), the step is the pitch, and spots may share a place.

    Args:
        pos: Spot centers x, y in pixels, [N, 2].

    Returns:
        Array column and row, int [N, 2], each from 0.

    Raises:
        ValueError: If ``pos`` is not finite [N, 2], most spots share their position, or the positions extend over
            more than :data:`FARTHEST` pitches.
    """
    positions = np.asarray(pos, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or not np.isfinite(positions).all():
        raise ValueError(f"Positions must be finite and [N, 2], got shape {list(positions.shape)}.")
    if len(positions) < 2:
        return np.zeros(positions.shape, dtype=np.int64)
    pitch = spot_pitch(positions)
    if np.ptp(positions, axis=0).max() > FARTHEST * pitch:
        raise ValueError(f"Positions extend over more than {FARTHEST} distances of neighboring spots ({pitch:g} px).")
    grid = np.stack([_places(axis, pitch) for axis in positions.T], axis=1)
    grid -= grid.min(axis=0)
    if len(np.unique(grid.sum(axis=1) % 2)) == 1:  # staggered: a row has only even or only odd columns
        grid[:, 0] //= 2
    distinct = len(np.unique(grid, axis=0))
    logger.info("array derived from positions: pitch %.1f px, %d spots on %d places", pitch, len(grid), distinct)
    return grid


def places_on_array(pos: ArrayLike) -> NDArray[np.int64]:
    """Find each spot's place on a square or hexagonal array, which may be rotated in the image.

    Args:
        pos: Spot centers x, y in pixels, [N, 2].

    Returns:
        Array column and row, int [N, 2], each from 0; no two spots have the same.

    Raises:
        ValueError: If the spots do not lie on such an array; the message gives the reason.
    """
    positions = np.asarray(pos, dtype=np.float64)
    grid = grid_from_positions(positions)
    problem = _off_array(positions, grid)
    if problem and len(positions) > 3:
        upright = positions @ _turn(_tilt(positions))
        grid = grid_from_positions(upright)
        problem = _off_array(upright, grid)
    if problem:
        raise ValueError(f"the spots do not lie on a square or hexagonal array: {problem}")
    return grid


def _off_array(pos: NDArray[np.float64], grid: NDArray[np.int64]) -> str:
    """Why positions [N, 2] do not lie on an array with these places; empty if they do."""
    places, counts = np.unique(grid, axis=0, return_counts=True)
    if len(places) < len(grid):
        column, row = places[counts.argmax()].tolist()
        return f"{len(grid)} spots fall on {len(places)} places, {counts.max()} of them on column {column}, row {row}"
    # A place's position is linear in column and row; on a staggered array every other row is shifted.
    terms = np.column_stack([np.ones(len(grid)), grid, grid[:, 1] % 2])
    fitted = terms @ np.linalg.lstsq(terms, pos, rcond=None)[0]
    off = float(np.median(np.linalg.norm(pos - fitted, axis=1))) / spot_pitch(pos)
    return f"their median distance from its places is {off:.2f} pitches" if off > MOST_OFF else ""


def _tilt(pos: NDArray[np.float64]) -> float:
    """The smallest angle, in degrees, between an array's rows or columns and the image's axes."""
    from scipy.spatial import cKDTree

    distance, near = cKDTree(pos).query(pos, k=min(7, len(pos)))
    step = (pos[near[:, 1:]] - pos[:, None])[distance[:, 1:] < 1.25 * spot_pitch(pos)]
    angle = np.arctan2(step[:, 1], step[:, 0])
    # Neighbors are 90 degrees apart on a square array, 60 on a hexagonal one. Half of that turns the rows of a
    # hexagonal array into columns, and a square array into a staggered one.
    folds = max((4, 6), key=lambda folds: abs(np.exp(1j * folds * angle).mean()))
    return float(np.degrees(np.angle(np.exp(2j * folds * angle).mean()))) / (2 * folds)


def _turn(degrees: float) -> NDArray[np.float64]:
    """The matrix that rotates positions [N, 2] back by an angle: ``pos @ matrix``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _places(values: NDArray[np.float64], pitch: float) -> NDArray[np.int64]:
    """Number the places along one axis, with the step at which the spots' phases agree best."""
    middle = np.partition(values, len(values) // 2)[len(values) // 2]
    some = values[np.abs(values - middle) <= WINDOW / 2 * pitch] if np.ptp(values) > WINDOW * pitch else values
    some = some[:: -(-len(some) // MOST_SPOTS)]
    extent = np.ptp(some) / pitch
    steps = pitch * np.linspace(0.45, 1.1, int(400 + 8 * extent))
    parts = np.array_split(steps, -(-len(steps) * len(some) // 2**20))
    waves = np.concatenate([np.exp(2j * np.pi * some / part[:, None]).mean(axis=1) for part in parts])
    agreement = np.abs(waves)
    best = int(agreement.argmax())
    if agreement[best] < LEAST_AGREEMENT:
        return _whole((values - values.min()) / pitch)
    # Half the step of a regular array fits as well; choose the longer one.
    double = np.flatnonzero(np.abs(steps / steps[best] - 2) < 0.05)
    if len(double) and agreement[double].max() > 0.9 * agreement[best]:
        best = int(double[agreement[double].argmax()])
    offset = np.angle(waves[best]) / (2 * np.pi) * steps[best]
    return _whole((values - offset) / steps[best])


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = np.rint(values).astype(np.int64)
    return whole
