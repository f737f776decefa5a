"""Outline regions of spots: polygons of the area that is nearer to a region's spots than to others."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.rings import Ring, inside, signed_area
from hist2st_pyg.utils.array_places import spot_pitch

POINTS_AROUND = 12
"""Number of points around each spot that end the tissue where no other spot is near."""

Outline = list[list[Ring]]
"""Polygons: the outer ring of each, and those of its holes."""


def outlines(pos: NDArray[np.float64], labels: NDArray[np.object_]) -> dict[str, Outline]:
    """The polygons of each label: the union of its spots' Voronoi cells, which end half a pitch beyond the tissue.

    Args:
        pos: Spot centers x, y [N, 2].
        labels: The spots' labels [N].

    Returns:
        The polygons by label.

    Raises:
        ValueError: If more than half of the spots share their position with another.
    """
    from scipy.spatial import Voronoi

    edge = _edge(pos)
    cells = Voronoi(np.concatenate([pos, edge]))
    names = [*labels.tolist(), *[None] * len(edge)]
    lines: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (one, other), line in zip(cells.ridge_points.tolist(), cells.ridge_vertices, strict=True):
        if names[one] == names[other] or -1 in line:
            continue
        start, end = line
        for spot in (one, other):
            if names[spot] is not None:
                ahead = _is_left(cells.points[spot], cells.vertices[start], cells.vertices[end])
                a, b = (start, end) if ahead else (end, start)
                lines[names[spot]][a].append(b)  # the region lies to the left
    corners = cells.vertices
    return {name: _polygons([corners[ring] for ring in _rings(ways, corners)]) for name, ways in lines.items()}


def _edge(pos: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points around the tissue, one pitch beyond its spots, which close all cells."""
    from scipy.spatial import cKDTree

    pitch = spot_pitch(pos)
    angles = np.arange(POINTS_AROUND) * 2 * np.pi / POINTS_AROUND
    around = (pos[:, None] + pitch * np.column_stack([np.cos(angles), np.sin(angles)])).reshape(-1, 2)
    far = around[cKDTree(pos).query(around)[0] > 0.9 * pitch]
    # Keep one of several close points, else cells would have slivers.
    _, kept = np.unique(np.rint(far / (pitch / 4)), axis=0, return_index=True)
    low, high = pos.min(0) - 10 * pitch, pos.max(0) + 10 * pitch
    corners = np.array([[low[0], low[1]], [low[0], high[1]], [high[0], low[1]], [high[0], high[1]]])
    return np.concatenate([far[np.sort(kept)], corners])


def _is_left(point: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]) -> bool:
    along, aside = end - start, point - start
    return bool(along[0] * aside[1] - along[1] * aside[0] > 0)


def _rings(ways: dict[int, list[int]], vertices: NDArray[np.float64]) -> list[list[int]]:
    """Follow the lines to closed rings; where rings touch, the sharpest turn to the left keeps them apart."""
    found = []
    for first in list(ways):
        while ways[first]:
            ring = [first, ways[first].pop()]
            while ring[-1] != first:
                ring.append(_next(ways[ring[-1]], ring, vertices))
            found.append(ring)
    return found


def _next(choices: list[int], ring: list[int], vertices: NDArray[np.float64]) -> int:
    if len(choices) == 1:
        return choices.pop()
    back = vertices[ring[-2]] - vertices[ring[-1]]
    turns = []
    for choice in choices:
        ahead = vertices[choice] - vertices[ring[-1]]
        turns.append(np.arctan2(back[0] * ahead[1] - back[1] * ahead[0], back @ ahead) % (2 * np.pi))
    # Take the first line clockwise from the reverse direction: the region is on the left.
    return choices.pop(int(np.argmax(turns)))


def _polygons(rings: list[Ring]) -> Outline:
    """Rings with their holes: a ring around its region turns left, one around a hole right."""
    areas = [signed_area(ring) for ring in rings]
    outer = sorted((i for i, area in enumerate(areas) if area > 0), key=lambda i: areas[i])
    polygons = {i: [rings[i]] for i in outer}
    for i, area in enumerate(areas):
        if area < 0:
            middle = (rings[i][:1] + rings[i][1:2]) / 2  # on its line, inside only the ring around it
            owner = next(j for j in outer if areas[j] > -area and inside(middle, [rings[j]])[0])
            polygons[owner].append(rings[i])
    return list(polygons.values())
