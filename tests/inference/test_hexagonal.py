from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hist2st_pyg.inference.hexagonal import hexagonal_grid, inside, interleaved
from hist2st_pyg.io.spots import Spots


def test_hexagonal_grid_has_six_neighbors_at_one_pitch() -> None:
    spots = hexagonal_grid((1000, 700), 100.0)
    distances = cdist(spots.pos, spots.pos)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(distances.min(axis=1), 100)
    neighbors = (np.abs(distances - 100) < 1e-6).sum(axis=1)
    middle = (np.abs(spots.pos - [500, 350]) < 200).all(axis=1)
    assert middle.sum() > 10
    assert (neighbors[middle] == 6).all()
    assert neighbors.max() == 6


def test_hexagonal_grid_places_and_names() -> None:
    spots = hexagonal_grid((350, 230), 100.0)
    step = 100 * np.sqrt(3) / 2
    expected = [[50, 50], [150, 50], [250, 50], [100, 50 + step], [200, 50 + step], [300, 50 + step]]
    np.testing.assert_allclose(spots.pos, expected)
    np.testing.assert_array_equal(spots.grid, [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    assert spots.names == ["hex_0_0", "hex_0_1", "hex_0_2", "hex_1_0", "hex_1_1", "hex_1_2"]


@pytest.mark.parametrize("size", [(100, 100), (350, 230), (1237, 911), (333, 3000)])
def test_hexagonal_grid_covers_the_image_and_stays_on_it(size: tuple[int, int]) -> None:
    spots = hexagonal_grid(size, 100.0)
    assert (spots.pos >= 50).all()
    assert (spots.pos <= np.array(size) - 50).all()
    # Another row or column would not fit.
    assert spots.pos[:, 1].max() + 100 * np.sqrt(3) / 2 > size[1] - 50
    for row in np.unique(spots.grid[:, 1]):
        assert spots.pos[spots.grid[:, 1] == row, 0].max() + 100 > size[0] - 50


@pytest.mark.parametrize("pitch", [0.0, 0.5, -3.0, np.nan, np.inf])
def test_a_wrong_pitch_is_refused(pitch: float) -> None:
    with pytest.raises(ValueError, match="pitch must be 1 pixel or more"):
        hexagonal_grid((500, 500), pitch)


def test_a_pitch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="No spot fits: the pitch is 100 px and the image is 500 x 99 px"):
        hexagonal_grid((500, 99), 100)


def test_inside_keeps_the_spots_on_the_mask_and_counts_from_zero() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[4:8, 12:18] = True  # y 400 to 800, x 1200 to 1800 at full resolution
    pos = np.array([[1199.0, 500], [1200, 400], [1799, 799], [1800, 799], [1500, 399], [-1, 500], [2500, 500]])
    grid = np.array([[11, 5], [12, 4], [17, 7], [18, 7], [15, 3], [0, 5], [25, 5]])
    kept = inside(Spots(list("abcdefg"), pos, grid), mask, scale=0.01)
    assert kept.names == ["b", "c"]
    np.testing.assert_array_equal(kept.pos, pos[1:3])
    np.testing.assert_array_equal(kept.grid, [[0, 0], [5, 3]])


def test_inside_explains_what_is_wrong() -> None:
    spots = hexagonal_grid((100, 100), 10)
    with pytest.raises(ValueError, match=f"None of the {len(spots)} spots lies on the tissue"):
        inside(spots, np.zeros((10, 10), dtype=bool), 0.1)
    with pytest.raises(TypeError, match="mask must be bool, got float64"):
        inside(spots, np.zeros((10, 10)), 0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"mask must have shape \[h, w\], got \[10, 10, 3\]"):
        inside(spots, np.zeros((10, 10, 3), dtype=bool), 0.1)
    with pytest.raises(ValueError, match=r"scale .* must be positive, got 0\.0"):
        inside(spots, np.ones((10, 10), dtype=bool), 0.0)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_fine_grid_is_coarser_ones_laid_between_each_other(factor: int) -> None:
    spots = hexagonal_grid((700, 800), 20.0)
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(len(spots), len(spots) * 9 // 10, replace=False))  # tissue has holes
    pos = spots.pos[kept] + [3.0, -1.0]
    arrays, _ = interleaved(pos, 20.0, factor)
    assert len(arrays) == factor**2
    np.testing.assert_array_equal(np.sort(np.concatenate(arrays)), np.arange(len(pos)))
    for array in arrays:
        distances = cdist(pos[array], pos[array])
        np.fill_diagonal(distances, np.inf)
        np.testing.assert_allclose(np.sort(distances.min(axis=1))[: len(array) // 2], 20 * factor)
        # Nothing between two spots of the coarser grid belongs to it, so no spot is nearer than its pitch.
        assert distances.min() > 20 * factor - 1e-6


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_each_coarser_grid_counts_columns_and_rows_as_a_hexagonal_grid_does(factor: int) -> None:
    pos = hexagonal_grid((700, 800), 20.0).pos
    arrays, places = interleaved(pos, 20.0, factor)
    assert places.min() == 0
    for array in arrays:
        column, row = places[array].T
        x, y = pos[array].T
        np.testing.assert_allclose(np.ptp(y - 20 * factor * np.sqrt(3) / 2 * row), 0, atol=1e-9)
        # Odd rows are half a pitch to the right of even ones.
        np.testing.assert_allclose(np.ptp(x - 20 * factor * (column + row % 2 / 2)), 0, atol=1e-9)


def test_a_grid_alone_keeps_its_places() -> None:
    spots = hexagonal_grid((500, 400), 30.0)
    (array,), places = interleaved(spots.pos, 30.0, 1)
    np.testing.assert_array_equal(array, np.arange(len(spots)))
    np.testing.assert_array_equal(places, spots.grid)
