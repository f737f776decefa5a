from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hist2st_pyg.image import open_image
from hist2st_pyg.image.tissue import LEAST_CONTRAST, otsu, saturation, tissue_mask
from hist2st_pyg.inference.hexagonal import inside
from hist2st_pyg.io.spots import read_spots

GLASS, STAIN = (232, 226, 230), (170, 90, 160)


def slide(height: int = 300, width: int = 400) -> NDArray[np.uint8]:
    """Glass with some noise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(-4, 5, size=(height, width, 3))
    return np.clip(np.array(GLASS) + noise, 0, 255).astype(np.uint8)


def stain(picture: NDArray[np.uint8], where: NDArray[np.bool_], color: tuple[int, int, int] = STAIN) -> None:
    rng = np.random.default_rng(1)
    picture[where] = np.array(color) + rng.integers(-20, 21, size=(int(where.sum()), 3))


def an_l(height: int = 300, width: int = 400) -> NDArray[np.bool_]:
    """An L: nothing of it is symmetric, so that a flip or a transposition shows."""
    shape = np.zeros((height, width), dtype=bool)
    shape[60:240, 50:100] = shape[190:240, 50:330] = True
    return shape


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((mask & truth).sum() / (mask | truth).sum())


def test_the_tissue_is_found_where_it_is() -> None:
    picture, truth = slide(), an_l()
    stain(picture, truth)
    mask = tissue_mask(picture)
    assert mask.dtype == bool
    assert mask.shape == truth.shape
    assert overlap(mask, truth) > 0.9
    assert overlap(mask[:, ::-1], truth) < 0.6
    assert overlap(mask[::-1], truth) < 0.6


def test_tissue_at_the_border_of_the_picture_is_found() -> None:
    picture, truth = slide(), np.zeros((300, 400), dtype=bool)
    truth[200:, 250:] = True
    stain(picture, truth)
    assert overlap(tissue_mask(picture), truth) > 0.9


@pytest.mark.parametrize("margin", [(0, 0, 0), (128, 128, 128), (255, 255, 255), (3, 0, 2)])
def test_a_margin_is_not_tissue(margin: tuple[int, int, int]) -> None:
    truth = np.zeros((500, 700), dtype=bool)
    truth[80:380, 200:600] = an_l()
    picture = np.full((500, 700, 3), margin, dtype=np.uint8)
    picture[80:380, 200:600] = slide()
    stain(picture, truth)
    assert overlap(tissue_mask(picture), truth) > 0.9


def test_holes_are_filled_and_specks_dropped() -> None:
    picture, truth = slide(), an_l()
    stained = truth.copy()
    stained[205:225, 200:220] = False  # a vessel, wider than what closing closes
    speck = np.zeros_like(truth)
    speck[30:42, 300:312] = True
    stain(picture, stained | speck)
    mask = tissue_mask(picture)
    assert mask[205:225, 200:220].all()
    assert not mask[20:55, 290:330].any()
    assert tissue_mask(picture, min_area=0.0005)[30:42, 300:312].all()


def test_a_large_hole_is_glass() -> None:
    y, x = np.ogrid[:300, :400]
    distance = np.hypot(x - 200, y - 150)
    ring = (distance < 120) & (distance > 55)  # a gut, cut across
    picture = slide()
    stain(picture, ring)
    mask = tissue_mask(picture)
    assert overlap(mask, ring) > 0.9
    assert not mask[distance < 40].any()
    assert tissue_mask(picture, min_area=0.1)[distance < 40].all()


def test_several_pieces_are_kept_and_not_joined() -> None:
    picture, truth = slide(), np.zeros((300, 400), dtype=bool)
    truth[40:140, 40:120] = truth[160:280, 250:360] = True
    stain(picture, truth)
    mask = tissue_mask(picture)
    assert overlap(mask, truth) > 0.9
    assert not mask[:, 150:220].any()


def test_pale_tissue_with_threads_is_tissue() -> None:
    picture, truth = slide(), np.zeros((300, 400), dtype=bool)
    truth[60:240, 50:330] = True
    stain(picture, truth & (np.arange(400) % 8 < 2))  # a quarter is stained, the rest as clear as glass
    assert overlap(tissue_mask(picture), truth) > 0.9


@pytest.mark.parametrize(
    "picture",
    [
        np.full((60, 80, 3), 255, dtype=np.uint8),
        np.full((60, 80, 3), 0, dtype=np.uint8),
        np.full((60, 80, 3), GLASS, dtype=np.uint8),
        np.full((60, 80, 3), STAIN, dtype=np.uint8),
        slide(),
        np.full((1, 1, 3), 200, dtype=np.uint8),
    ],
    ids=["white", "black", "glass", "one color", "noise", "one pixel"],
)
def test_a_blank_picture_has_no_tissue(picture: NDArray[np.uint8]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"no tissue found: .* give the spots' positions in a file"):
            tissue_mask(picture)


def test_only_specks_are_no_tissue() -> None:
    picture, speck = slide(), np.zeros((300, 400), dtype=bool)
    speck[30:42, 300:312] = True
    stain(picture, speck)
    with pytest.raises(ValueError, match=r"every piece is smaller than min_area=0\.005"):
        tissue_mask(picture)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((5, 5, 3)),), TypeError, "uint8 .* got float64"),
        ((np.zeros((5, 5), dtype=np.uint8),), ValueError, r"\[h, w, 3\], got shape \[5, 5\]"),
        ((np.zeros((0, 5, 3), dtype=np.uint8),), ValueError, r"\[h, w, 3\], got shape \[0, 5, 3\]"),
        ((slide(), 1.0), ValueError, r"min_area must be a share .* got 1\.0"),
    ],
)
def test_bad_input_is_explained(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tissue_mask(*arguments)


def test_saturation_is_that_of_hsv() -> None:
    import matplotlib.colors

    picture = np.random.default_rng(0).integers(30, 256, size=(20, 30, 3)).astype(np.uint8)
    expected = matplotlib.colors.rgb_to_hsv(picture / 255)[..., 1]
    np.testing.assert_allclose(saturation(picture), expected, atol=1e-6)
    assert not saturation(np.full((2, 2, 3), (9, 0, 4), dtype=np.uint8)).any()


def test_otsu_maximizes_the_variance_between_the_classes() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.1, 0.02, 900), rng.normal(0.5, 0.1, 100)])

    def between(threshold: float) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0

    best = max(between(threshold) for threshold in np.sort(values))
    assert between(otsu(values)) > 0.999 * best
    assert LEAST_CONTRAST < otsu(values) < 0.5


def test_the_real_spots_lie_on_the_tissue(real_data: Path) -> None:
    image = open_image(real_data / "her2st/data/ST-imgs/B/B4/BT10737_D2_HE.jpg")
    spots = read_spots(real_data / "her2st/data/ST-spotfiles/B4_selection.tsv")
    thumbnail = image.thumbnail(1024)
    mask = tissue_mask(thumbnail)
    kept = inside(spots, mask, thumbnail.shape[1] / image.size[0])
    assert len(kept) / len(spots) > 0.9
    assert 0.2 < mask.mean() < 0.35  # by eye, the section takes a little over a quarter of the picture
