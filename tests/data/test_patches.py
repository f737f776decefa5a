from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from _helpers.full_disk import REASON, full_disk
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg import Section, to_data
from hist2st_pyg.data import cut_patches
from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.image import ArrayImage, HistologyImage, Region, open_image

WIDTH, HEIGHT = 90, 50


def picture() -> NDArray[np.uint8]:
    """Red says x, green says y: every pixel has a color of its own."""
    array = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    array[..., 0] = np.arange(WIDTH)
    array[..., 1] = 2 * np.arange(HEIGHT)[:, None]
    array[..., 2] = 200
    return array


POS = np.array([[70.0, 20.0], [20.0, 30.0], [45.0, 25.0]])


def section(image: Any, pos: NDArray[np.float64] = POS, **fields: Any) -> Section:
    n = len(pos)
    obs = pd.DataFrame({"array_col": np.arange(n), "array_row": 0}, index=[f"s{i}" for i in range(n)])
    adata = anndata.AnnData(
        np.arange(1, 2 * n + 1, dtype=np.float32).reshape(n, 2),
        obs=obs,
        var=pd.DataFrame(index=["G1", "G2"]),
        obsm={"spatial": pos},
    )
    return Section("S1", "P1", adata, image, **fields)


def padded(x: int, y: int, side: int) -> NDArray[np.uint8]:
    """The same patch out of the whole image padded by numpy, [side, side, 3]."""
    around = np.pad(picture(), ((side, side), (side, side), (0, 0)), mode="reflect")
    top, left = y + side - side // 2, x + side - side // 2
    return around[top : top + side, left : left + side]


# Which pixels.


@pytest.mark.parametrize("side", [14, 15])
def test_x_runs_right_and_y_down(side: int) -> None:
    patches = cut_patches(ArrayImage(picture()), POS, side)
    assert patches.shape == (3, 3, side, side)
    assert patches.dtype == np.uint8
    for patch, (x, y) in zip(patches, POS, strict=True):
        assert patch[:, side // 2, side // 2].tolist() == [x, 2 * y, 200]  # the spot's own pixel
        assert patch[:, side // 2, side // 2 + 3].tolist() == [x + 3, 2 * y, 200]  # the last axis is x
        assert patch[:, side // 2 + 3, side // 2].tolist() == [x, 2 * y + 6, 200]


def test_to_data_keeps_the_axes() -> None:
    data = to_data(section(picture()), ["G1", "G2"], patch_size=14, k=2)
    assert tuple(data.x.shape) == (3, 3, 14, 14)
    for patch, (x, y) in zip(data.x, POS, strict=True):
        assert patch[:, 7, 7].tolist() == [x, 2 * y, 200]
        assert patch[:, 7, 9].tolist() == [x + 2, 2 * y, 200]
        assert patch[:, 9, 7].tolist() == [x, 2 * y + 4, 200]
    np.testing.assert_array_equal(data.pos.numpy(), POS)
    swapped = to_data(section(picture()), ["G1", "G2"], patch_size=14, k=2, transpose_patches=True)
    np.testing.assert_array_equal(swapped.x.numpy(), data.x.numpy().transpose(0, 1, 3, 2))


@pytest.mark.parametrize("side", [14, 15, 40])
def test_the_border_is_reflected(side: int) -> None:
    pos = np.array([[0, 0], [WIDTH - 1, HEIGHT - 1], [3, 48], [88, 2], [WIDTH - 0.01, 0.99], [45, 25]])
    patches = cut_patches(ArrayImage(picture()), pos, side)
    for patch, (x, y) in zip(patches, pos.astype(int), strict=True):
        np.testing.assert_array_equal(patch.transpose(1, 2, 0), padded(x, y, side))


def test_a_patch_larger_than_the_image_is_reflected_again() -> None:
    patch = cut_patches(ArrayImage(picture()), np.array([[45.0, 25.0]]), 130)[0]
    pad = ((65 - 25, 130 - 50 - 40), (65 - 45, 130 - 90 - 20), (0, 0))
    np.testing.assert_array_equal(patch.transpose(1, 2, 0), np.pad(picture(), pad, mode="reflect"))


def test_a_spot_off_the_image_is_refused() -> None:
    image = ArrayImage(picture())
    for place in ([WIDTH, 10.0], [10.0, HEIGHT], [-0.5, 10.0], [10.0, np.nan]):
        pos = np.array([[10.0, 10.0], place])
        with pytest.raises(
            ValueError, match=r"'S1': 1 of 2 spots are not on the image \(90 x 50 px\), for example spot 1"
        ):
            cut_patches(image, pos, 14, name="S1")
    with pytest.raises(ValueError, match=r"pixels of this image\.$"):
        cut_patches(image, np.array([[10.0, 10.0], [200.0, 10.0]]), 14)


def test_swapped_axes_are_pointed_out() -> None:
    with pytest.raises(ValueError, match="With x and y swapped all spots would lie on it; check the order"):
        cut_patches(ArrayImage(picture()), POS[:, ::-1], 14)
    with pytest.raises(ValueError, match="With x and y swapped"):
        to_data(section(picture(), POS[:, ::-1]), ["G1", "G2"], patch_size=14, k=2)


def test_no_spots_have_no_patches() -> None:
    assert cut_patches(ArrayImage(picture()), np.empty((0, 2)), 14, scales=(1.0, 2.0)).shape == (0, 6, 14, 14)


# The field of view.


def test_a_field_of_view_is_averaged_down() -> None:
    patches = cut_patches(ArrayImage(picture()), POS, 14, field=28)
    for patch, (x, y) in zip(patches, POS.astype(int), strict=True):
        expected = Image.fromarray(padded(x, y, 28)).resize((14, 14), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(patch.transpose(1, 2, 0), np.asarray(expected))
        # On a ramp the average of each 2 x 2 pixels is known, away from the patch's border.
        blocks = padded(x, y, 28).astype(float).reshape(14, 2, 14, 2, 3).mean((1, 3))
        np.testing.assert_allclose(patch.transpose(1, 2, 0)[2:-2, 2:-2], blocks[2:-2, 2:-2], atol=1)


def test_a_field_in_micrometers_needs_the_resolution() -> None:
    # 14 µm at 0.5 µm per pixel are 28 pixels.
    data = to_data(section(picture(), um_per_pixel=0.5), ["G1", "G2"], patch_size=14, k=2, patch_um=14.0)
    np.testing.assert_array_equal(data.x.numpy(), cut_patches(ArrayImage(picture()), POS, 14, field=28))
    with pytest.raises(ValueError, match=r"Section 'S1': patch_um=14.0 needs the image's um_per_pixel"):
        to_data(section(picture()), ["G1", "G2"], patch_size=14, k=2, patch_um=14.0)


def test_a_field_in_pitches_needs_no_resolution() -> None:
    pos = np.array([[20.0, 20.0], [34.0, 20.0], [48.0, 20.0]])
    image = ArrayImage(picture())

    def side(preprocessing: Preprocessing, **known: float) -> int:
        x = preprocessing.patches(image, pos, **known)().numpy()
        (field,) = (f for f in range(2, 60) if np.array_equal(x, cut_patches(image, pos, 14, field=f)))
        return field

    preprocessing = Preprocessing(genes=("G1",), patch_size=14, k=1, patch_pitch=2.0)
    assert side(preprocessing) == 28  # the spots' own pitch is 14 px
    assert side(preprocessing, pitch=20.0) == 40  # a grid finer than the array
    trained = replace(preprocessing, pitch=10.0, um_per_pixel=3.0)
    assert side(trained, um_per_pixel=2.0) == 30  # the training array's 30 µm
    assert side(trained) == 28


def test_the_same_tissue_at_two_resolutions_looks_alike() -> None:
    smooth = np.asarray(Image.fromarray(picture()).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BILINEAR))
    coarse = to_data(section(picture(), um_per_pixel=1.0), ["G1", "G2"], patch_size=14, k=2, patch_um=14.0)
    fine = to_data(section(smooth, 2 * POS, um_per_pixel=0.5), ["G1", "G2"], patch_size=14, k=2, patch_um=14.0)
    difference = coarse.x.numpy().astype(int) - fine.x.numpy().astype(int)
    assert np.abs(difference[..., 2:-2, 2:-2]).max() <= 2


def test_each_scale_adds_three_channels() -> None:
    image = ArrayImage(picture())
    both = cut_patches(image, POS, 14, scales=(1.0, 2.0))
    assert both.shape == (3, 6, 14, 14)
    np.testing.assert_array_equal(both[:, :3], cut_patches(image, POS, 14))
    np.testing.assert_array_equal(both[:, 3:], cut_patches(image, POS, 14, field=28))
    data = to_data(section(image), ["G1", "G2"], patch_size=14, k=2, scales=(1.0, 2.0))
    np.testing.assert_array_equal(data.x.numpy(), both)


def test_sizes_that_cannot_be_are_refused() -> None:
    for options in (
        {"patch_size": 0},
        {"field": 0.5},
        {"field": -3.0},
        {"field": 0.0},
        {"scales": ()},
        {"scales": (1.0, 0.0)},
    ):
        with pytest.raises(ValueError, match="Patches need at least one pixel"):
            cut_patches(ArrayImage(picture()), POS, **{"patch_size": 14, **options})


# The cache.


class Counting(ArrayImage):
    """Counts how often its pixels are opened."""

    opened = 0

    def open(self) -> Any:
        self.opened += 1
        return super().open()


def test_the_cache_is_a_memory_map_that_is_used_again(tmp_path: Path) -> None:
    image = Counting(picture())
    first = cut_patches(image, POS, 14, cache=tmp_path / "cache", name="S1")
    assert isinstance(first, np.memmap)
    np.testing.assert_array_equal(first, cut_patches(ArrayImage(picture()), POS, 14))
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name.startswith("S1-")
    assert file.suffix == ".npy"
    os.utime(file, ns=(1, 1))
    again = cut_patches(image, POS, 14, cache=tmp_path / "cache", name="S1")
    assert image.opened == 1
    assert list((tmp_path / "cache").iterdir()) == [file]
    assert file.stat().st_mtime_ns == 1
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize("cached", [False, True])
def test_patches_do_not_depend_on_how_many_are_cut_together(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pos = np.random.default_rng(0).random((11, 2)) * [WIDTH, HEIGHT]
    expected = cut_patches(ArrayImage(picture()), pos, 8, 12.0, (1.0, 2.0))
    monkeypatch.setattr("hist2st_pyg.data.patch_grid.PATCHES_AT_ONCE", 3)
    cut = cut_patches(ArrayImage(picture()), pos, 8, 12.0, (1.0, 2.0), tmp_path if cached else None)
    np.testing.assert_array_equal(cut, expected)


def test_writing_to_the_patches_leaves_the_cache_alone(tmp_path: Path) -> None:
    image = ArrayImage(picture())
    before = cut_patches(image, POS, 14)
    cut_patches(image, POS, 14, cache=tmp_path)[:] = 0
    np.testing.assert_array_equal(cut_patches(image, POS, 14, cache=tmp_path), before)
    data = to_data(section(image), ["G1", "G2"], patch_size=14, k=2, cache=tmp_path)
    data.x[:] = 0
    np.testing.assert_array_equal(cut_patches(image, POS, 14, cache=tmp_path), before)


def test_whatever_changes_makes_a_new_file(tmp_path: Path) -> None:
    other = picture()
    other[0, 0, 0] += 1
    variants: list[tuple[HistologyImage, NDArray[np.float64], dict[str, Any]]] = [
        (ArrayImage(picture()), POS, {}),
        (ArrayImage(other), POS, {}),
        (ArrayImage(picture()), POS + np.array([0, 1]), {}),
        (ArrayImage(picture()), POS[:2], {}),
        (ArrayImage(picture()), POS, {"patch_size": 16}),
        (ArrayImage(picture()), POS, {"field": 20.0}),
        (ArrayImage(picture()), POS, {"scales": (1.0, 2.0)}),
    ]
    for number, (image, pos, options) in enumerate(variants, 1):
        settings = {"patch_size": 14, **options}
        got = cut_patches(image, pos, cache=tmp_path, name="S1", **settings)
        assert len(list(tmp_path.iterdir())) == number
        np.testing.assert_array_equal(got, cut_patches(image, pos, **settings))


def test_a_changed_image_file_makes_a_new_file(tmp_path: Path) -> None:
    file, cache = tmp_path / "image.png", tmp_path / "cache"
    Image.fromarray(picture()).save(file)
    before = np.array(cut_patches(open_image(file), POS, 14, cache=cache))
    status = file.stat()
    Image.fromarray(255 - picture()).save(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = cut_patches(open_image(file), POS, 14, cache=cache)
    np.testing.assert_array_equal(after, 255 - before)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-50], lambda b: b[:40], lambda b: b"", lambda b: b"not an array"])
def test_a_damaged_cache_is_rebuilt_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    image = ArrayImage(picture())
    expected = np.array(cut_patches(image, POS, 14, cache=tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cut_patches(image, POS, 14, cache=tmp_path), expected)
    assert f"The patch cache {file} is damaged" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cut_patches(image, POS, 14, cache=tmp_path), expected)
    assert not caplog.text


def test_a_failed_cut_leaves_no_cache(tmp_path: Path) -> None:
    class Broken(ArrayImage):
        def open(self) -> Any:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        cut_patches(Broken(picture()), POS, 14, cache=tmp_path / "cache")
    assert not list(tmp_path.rglob("*.npy"))


def test_the_cache_of_an_image_of_one_level_is_as_it_was(tmp_path: Path) -> None:
    cut_patches(ArrayImage(picture()), POS, 14, cache=tmp_path, name="S1")
    assert [file.name for file in tmp_path.iterdir()] == ["S1-eb6c8489d3fa9103534d0787.npy"]


# The formats.


def write_tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, picture(), photometric="rgb", **options)


WRITERS: dict[str, Any] = {
    "plain.png": lambda path: Image.fromarray(picture()).save(path),
    "alpha.PNG": lambda path: Image.fromarray(picture()).convert("RGBA").save(path),
    "plain.tif": write_tiff,
    "strips.tif": lambda path: write_tiff(path, rowsperstrip=7),
    "tiles.tiff": lambda path: write_tiff(path, tile=(16, 32), compression="deflate"),
    "big.tif": lambda path: write_tiff(path, bigtiff=True),
    "alpha.tif": lambda path: tifffile.imwrite(
        path, np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)]), photometric="rgb", extrasamples=[2]
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_patches(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    pos = np.vstack([POS, [[2.0, 47.0]]])
    expected = cut_patches(ArrayImage(picture()), pos, 14, scales=(1.0, 3.0))
    np.testing.assert_array_equal(cut_patches(open_image(tmp_path / name), pos, 14, scales=(1.0, 3.0)), expected)


@pytest.mark.parametrize("name", ["image.jpg", "image.JPEG"])
def test_jpeg_gives_almost_the_same_patches(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture()).save(tmp_path / name, quality=100, subsampling=0)
    got = cut_patches(open_image(tmp_path / name), POS, 14).astype(int)
    assert np.abs(got - cut_patches(ArrayImage(picture()), POS, 14)).max() <= 3


def test_a_reader_may_know_no_levels() -> None:
    class Own(HistologyImage):
        size = (WIDTH, HEIGHT)

        def fingerprint(self) -> str:
            return "own"

        @contextmanager
        def open(self) -> Iterator[Region]:  # type: ignore[override]
            yield lambda x, y, width, height: picture()[y : y + height, x : x + width]

    np.testing.assert_array_equal(
        cut_patches(Own(), POS, 14, scales=(1.0, 3.0)), cut_patches(ArrayImage(picture()), POS, 14, scales=(1.0, 3.0))
    )


@pytest.mark.parametrize(("field", "scales"), [(2e12, (1.0,)), (10.0, (1.0, 1e12))])
def test_a_field_of_view_beyond_any_slide_is_refused(field: float, scales: tuple[float, ...]) -> None:
    message = r"Section 'A1': a field of view is \S+ pixels of the image wide, the limit is 16384; set a smaller field"
    with pytest.raises(ValueError, match=message):
        cut_patches(ArrayImage(picture()), POS, 8, field, scales, name="A1")


def test_the_cache_names_a_full_disk(tmp_path: Path) -> None:
    pos = np.tile(POS, (200, 1))
    with full_disk(tmp_path / "disk") as disk:
        with pytest.raises(OSError, match=rf"disk/c/x_y~.*\.npy cannot be written: {REASON}\.$"):
            cut_patches(ArrayImage(picture()), pos, 16, cache=disk / "c", name="x/y")
        assert not list((disk / "c").iterdir())
