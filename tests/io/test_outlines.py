"""Outlines of regions."""

from __future__ import annotations

import numpy as np
import pytest
from _helpers.lattice import lattice

from hist2st_pyg.io.outlines import outlines
from hist2st_pyg.io.rings import inside, signed_area


@pytest.mark.parametrize("hexagonal", [False, True])
@pytest.mark.parametrize("pattern", ["random", "chess", "ring", "one"])
def test_regions_hold_their_spots_and_no_others(hexagonal: bool, pattern: str) -> None:
    pos = lattice(9, 8, hexagonal)
    column, row = (np.rint(pos / 100)).astype(int).T
    rng = np.random.default_rng(0)
    labels = {
        "random": rng.choice(["a", "b", "c"], len(pos)),
        "chess": np.where((column + row) % 2, "a", "b"),
        "ring": np.where((np.abs(column - 4) <= 1) & (np.abs(row - 3) <= 1), "a", "b"),
        "one": np.full(len(pos), "a"),
    }[pattern].astype(object)
    found = outlines(pos, labels)
    assert set(found) == set(labels)
    for label, polygons in found.items():
        held = np.logical_or.reduce([inside(pos, rings) for rings in polygons])
        np.testing.assert_array_equal(held, labels == label)
        for outer, *holes in polygons:
            assert signed_area(outer) > 0 > max([signed_area(hole) for hole in holes], default=-1)
    if pattern == "ring":
        assert [len(found["a"]), len(found["b"]), len(found["b"][0])] == [1, 1, 2]


def test_outlines_are_valid_polygons() -> None:
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(1)
    labels = rng.choice(["a", "b", "c"], 300).astype(object)
    found = outlines(rng.uniform(0, 1000, (300, 2)), labels)
    shapes = [shapely.MultiPolygon([(outer, holes) for outer, *holes in polygons]) for polygons in found.values()]
    assert sum(shape.area for shape in shapes) == pytest.approx(shapely.union_all(shapes).area, rel=1e-6)
    for polygons in found.values():
        assert all(shapely.Polygon(outer, holes).buffer(0).area > 0 for outer, *holes in polygons)
