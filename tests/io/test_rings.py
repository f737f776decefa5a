"""Rings of polygons: their area, and which spots they hold."""

from __future__ import annotations

import numpy as np
import pytest

from hist2st_pyg.io.rings import inside, signed_area


def test_points_in_polygons_are_those_of_another_library() -> None:
    from matplotlib.path import Path as Outline

    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 200))
    star = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.2, 1, 200)[:, None]
    star = np.concatenate([star, star[:1]])
    pos = rng.uniform(-1, 1, (5000, 2))
    np.testing.assert_array_equal(inside(pos, [star]), Outline(star).contains_points(pos))
    assert signed_area(star) == pytest.approx(-signed_area(star[::-1]))
    assert inside(pos, [star]).mean() * 4 == pytest.approx(signed_area(star), rel=0.1)
