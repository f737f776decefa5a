from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hist2st_pyg import load_sections
from hist2st_pyg.utils.array_places import WINDOW, grid_from_positions, places_on_array, spot_pitch


def test_the_spot_pitch() -> None:
    square = np.stack(np.meshgrid(np.arange(5), np.arange(4)), -1).reshape(-1, 2) * 7.0
    assert spot_pitch(square) == 7.0
    # One outlier and one pair at the same place do not count for much.
    assert spot_pitch(np.vstack([square, [[500.0, 500.0]], square[:1]])) == 7.0
    assert spot_pitch(square[:1]) == 1.0
    with pytest.raises(ValueError, match="More than half of the spots share their position"):
        spot_pitch(np.zeros((4, 2)))


def lattice(columns: int, rows: int) -> NDArray[np.int64]:
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)


def test_square_grid() -> None:
    rng = np.random.default_rng(0)
    places = lattice(30, 20)
    places = places[rng.random(len(places)) < 0.7]
    pos = 411.7 + 287.3 * (places + rng.normal(0, 0.06, places.shape))
    np.testing.assert_array_equal(grid_from_positions(pos), places - places.min(axis=0))
    np.testing.assert_array_equal(grid_from_positions(57.0 * places), places - places.min(axis=0))


def test_staggered_grid() -> None:
    """Visium: every other row is half a column to the side; places stay distinct, rows and columns in order."""
    places = lattice(12, 10)
    pos = np.column_stack([places[:, 0] + 0.5 * (places[:, 1] % 2), places[:, 1] * np.sqrt(3) / 2]) * 100 + 17
    np.testing.assert_array_equal(grid_from_positions(pos), places)


def test_rotated_square_grid() -> None:
    """A square array turned by 45 degrees (the 2k arrays) is a staggered one."""
    turned = lattice(9, 9) @ Rotation.from_euler("z", 45, degrees=True).as_matrix()[:2, :2]
    grid = grid_from_positions(31.7 * turned)
    assert len(np.unique(grid, axis=0)) == len(turned)
    assert grid.min() == 0


def test_scattered_cells() -> None:
    pos = np.random.default_rng(0).uniform(0, 1000, (300, 2))
    grid = grid_from_positions(pos)
    assert grid.dtype == np.int64
    # Order along each axis is kept, even though there is no array.
    for axis in (0, 1):
        assert (np.diff(grid[np.argsort(pos[:, axis]), axis]) >= 0).all()


def test_few_spots() -> None:
    assert grid_from_positions([[5, 9]]).tolist() == [[0, 0]]
    assert grid_from_positions([[0, 0], [0, 10], [0, 20]]).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_grid_errors() -> None:
    with pytest.raises(ValueError, match=r"\[N, 2\], got shape \[3, 3\]"):
        grid_from_positions(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="finite"):
        grid_from_positions(np.array([[0, 0], [np.nan, 1]]))
    with pytest.raises(ValueError, match="share their position with another"):
        grid_from_positions(np.zeros((5, 2)))


@pytest.mark.parametrize("name", ["A1", "C2", "H1"])
def test_grid_of_real_arrays(real_data: Path, name: str) -> None:
    (section,) = load_sections("her2st", real_data / "her2st", [name])
    np.testing.assert_array_equal(grid_from_positions(section.pos), section.grid - section.grid.min(axis=0))


def test_spots_that_nearly_coincide_or_lie_far_off_do_not_lay_a_grid_for_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    linspace = np.linspace
    monkeypatch.setattr(np, "linspace", lambda *range_: (asked.append(range_[2]), linspace(*range_))[1])
    grid = grid_from_positions(np.array([[100, 100], [100.0001, 100], [200, 200]]))
    assert (grid[2] > grid[0]).all()
    places = np.stack(np.meshgrid(np.arange(20), np.arange(15)), -1).reshape(-1, 2)
    far = grid_from_positions(np.concatenate([100.0 * places, [[1e8, 1e8]]]))
    np.testing.assert_array_equal(far[:-1], places)
    np.testing.assert_allclose(far[-1], 10**6, rtol=1e-3)
    assert max(asked) <= 400 + 8 * WINDOW
    with pytest.raises(ValueError, match=r"Positions extend over more than 2147483648 distances .*\(1e-12 px\)"):
        grid_from_positions([[0, 0], [1e-12, 0], [1e6, 0]])


def test_an_array_wider_than_the_window_keeps_its_places() -> None:
    places = np.stack([np.arange(3 * WINDOW), np.arange(3 * WINDOW) % 3], axis=1)
    np.testing.assert_array_equal(grid_from_positions(17.3 * places + 4), places)


@pytest.mark.parametrize("degrees", [0, 0.7, 3, -8, 14, 30, 45, 90])
@pytest.mark.parametrize("array", ["square", "hexagonal", "hexagonal, columns"])
def test_an_array_may_be_turned_and_have_gaps(array: str, degrees: float) -> None:
    rng = np.random.default_rng(0)
    places = lattice(30, 34)
    pos = 100.0 * places
    if array != "square":
        pos = np.column_stack([places[:, 0] + 0.5 * (places[:, 1] % 2), places[:, 1] * np.sqrt(3) / 2]) * 100
    pos = pos[:, ::-1] if array == "hexagonal, columns" else pos
    pos = pos @ Rotation.from_euler("z", degrees, degrees=True).as_matrix()[:2, :2]
    pos = (pos + rng.normal(0, 3, pos.shape))[rng.random(len(pos)) < 0.6]
    grid = places_on_array(pos)
    assert len(np.unique(grid, axis=0)) == len(pos)
    # Neighbors on the array are neighbors in the image: no farther than the diagonal of a square.
    near = (np.abs(grid[:, None] - grid) <= (1, 0)).all(axis=2)
    assert np.linalg.norm(pos[:, None] - pos, axis=2)[near].max() < 200


@pytest.mark.parametrize("n", [60, 300])
def test_scattered_spots_are_on_no_array(n: int) -> None:
    pos = np.random.default_rng(3).uniform(0, 1000, (n, 2))
    with pytest.raises(
        ValueError, match=r"square or hexagonal array: (\d+ spots fall on|their median distance from its places is 0)"
    ):
        places_on_array(pos)


def test_few_spots_are_on_an_array() -> None:
    assert places_on_array([[5, 9]]).tolist() == [[0, 0]]
    assert places_on_array([[0, 0], [10, 0], [0, 10]]).tolist() == [[0, 0], [1, 0], [0, 1]]
