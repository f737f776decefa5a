"""Areas of closed lines in the plane, and the points that they enclose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""A closed line [n, 2]; the last point is the first."""

PAIRS_AT_ONCE = 2**22
"""Number of pairs of an edge and a point that are tested at a time."""


def signed_area(ring: Ring) -> float:
    """The area that a ring encloses, above 0 where it turns from the x axis to the y axis."""
    x, y = (ring - ring[0]).T
    return float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2


def inside(pos: NDArray[np.float64], rings: Sequence[Ring]) -> NDArray[np.bool_]:
    """Whether points [N, 2] are in a polygon, given its outer ring and its holes: left of an odd number of edges."""
    order = np.argsort(pos[:, 1], kind="stable")
    x, y = pos[order].T
    start, end = (np.concatenate([ring[part] for ring in rings]) for part in (slice(-1), slice(1, None)))
    # The points at the height of an edge.
    first, last = (np.searchsorted(y, bound(start[:, 1], end[:, 1])) for bound in (np.minimum, np.maximum))
    edges = np.flatnonzero(last > first)
    crossed = np.zeros(len(pos), dtype=np.int64)
    for some in _parts(edges, (last - first)[edges]):
        counts = (last - first)[some]
        edge = np.repeat(some, counts)
        point = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts - first[some], counts)
        (x0, y0), (x1, y1) = start[edge].T, end[edge].T
        left = x[point] < x0 + (y[point] - y0) / (y1 - y0) * (x1 - x0)
        crossed += np.bincount(point[left], minlength=len(pos))
    found = np.empty(len(pos), dtype=bool)
    found[order] = crossed % 2 == 1
    return found


def _parts(edges: NDArray[np.int64], counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The edges in parts of about :data:`PAIRS_AT_ONCE` points."""
    return np.split(edges, np.flatnonzero(np.diff(counts.cumsum() // PAIRS_AT_ONCE)) + 1) if len(edges) else []
