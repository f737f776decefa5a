"""Slides put together from HEST's patches."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from _helpers.hest_sample import (
    HEIGHT,
    NAMES,
    POS,
    SIDE,
    UM,
    WIDTH,
    cut,
    picture,
    write_patches,
)
from PIL import Image

from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.image.mosaic import PatchMosaic


def test_mosaic(tmp_path: Path) -> None:
    path = write_patches(tmp_path)
    image = PatchMosaic(path, (WIDTH, HEIGHT), UM)
    assert image.size == (WIDTH, HEIGHT)
    assert image.level_downsamples == (1.0, 2.0)
    assert image.level_sizes == ((400, 300), (200, 150))
    assert (image.tile_size(0), image.tile_size(1)) == ((16, 16), (8, 8))
    np.testing.assert_array_equal(image.centers, POS)
    assert image.barcodes == NAMES
    covered = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for x, y in cut()[1]:
        covered[y : y + SIDE, x : x + SIDE] = True
    with image.open() as region:
        whole = region(0, 0, WIDTH, HEIGHT)
        np.testing.assert_array_equal(region(35, 19, 100, 60), whole[19:79, 35:135])
    assert whole.dtype == np.uint8
    assert (whole[~covered] == 255).all()
    assert np.abs(whole[covered].astype(int) - picture()[covered]).mean() < 2
    with image.open(1) as region:
        half = region(0, 0, 200, 150)
    expected = np.asarray(Image.fromarray(picture()).reduce(2))
    np.testing.assert_array_equal(half[covered[::2, ::2]], expected[covered[::2, ::2]])
    assert (half[~covered[::2, ::2]] == 255).all()
    with pytest.raises(ValueError, match=r"has the levels 0 to 1, got level=2"), image.open(2):
        pass
    assert image.thumbnail(100).shape == (75, 100, 3)


def test_mosaic_of_upscaled_and_of_overlapping_patches(tmp_path: Path) -> None:
    """HEST's first release has 256 pixels for the same 112 µm; the later of overlapping patches is seen."""
    images, corners = cut()
    large = images.repeat(8, axis=1).repeat(8, axis=2)
    image = PatchMosaic(write_patches(tmp_path, img=large), None, UM)
    assert image.level_downsamples == (1.0,)
    assert image.size == tuple(corners.max(0) + 16)
    patches = cut_patches(image, POS, 16)
    assert np.abs(patches[:, :, ::2, ::2].astype(int) - images.transpose(0, 3, 1, 2)).mean() < 3
    path = write_patches(
        tmp_path, img=images[:2], coords=np.array([[0, 0], [8, 0]]), barcode=["a", "b"], attrs={"patch_size_src": 16}
    )
    with PatchMosaic(path).open(1) as region:
        np.testing.assert_array_equal(region(0, 0, 12, 8), np.concatenate([images[0][:, :4], images[1]], axis=1))


def test_fingerprint_of_a_mosaic(tmp_path: Path) -> None:
    path = write_patches(tmp_path)
    first = PatchMosaic(path, (WIDTH, HEIGHT), UM).fingerprint()
    assert PatchMosaic(path, (WIDTH, HEIGHT), UM).fingerprint() == first
    assert PatchMosaic(path, (WIDTH, HEIGHT), 6.5).fingerprint() != first
    write_patches(tmp_path, img=255 - cut()[0])
    assert PatchMosaic(path, (WIDTH, HEIGHT), UM).fingerprint() != first


def test_patches_of_an_impossible_slide_are_refused(tmp_path: Path) -> None:
    path = write_patches(tmp_path)
    with h5py.File(path, "a") as file:
        file["coords"][0] = [10**9, 10**9]
    with pytest.raises(ValueError, match=r"A\.h5 is of a slide of 1000000\d+ x 1000000\d+ px .*the limit is"):
        PatchMosaic(path, um_per_pixel=UM)


def test_no_patch_is_decoded_where_there_is_none(tmp_path: Path) -> None:
    path = write_patches(tmp_path)
    image = PatchMosaic(path, um_per_pixel=UM)
    x, y = image.corners[0].astype(int)
    for level in range(len(image.level_downsamples)):
        assert not image.is_blank(level, *(int(c / image.level_downsamples[level]) for c in (x, y)), 1, 1)
    assert image.is_blank(0, 10**6, 10**6, 100, 100)
