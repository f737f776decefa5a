"""Images of SpatialData stores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("spatialdata")
from _helpers.spatialdata_store import HEIGHT, WIDTH, XY, he, picture, write
from PIL import Image
from spatialdata import read_zarr
from spatialdata.transformations import Scale

from hist2st_pyg.datasets.spatialdata import StoreImage


def test_image_regions_and_levels(tmp_path: Path) -> None:
    pixels = picture()
    image = StoreImage(write(tmp_path / "a.zarr", images={"he": he(scale_factors=[2, 2], chunks=(3, 64, 64))}), "he")
    assert image.size == (WIDTH, HEIGHT)
    assert image.level_sizes == ((240, 160), (120, 80), (60, 40))
    assert image.level_downsamples == (1, 2, 4)
    assert repr(image) == f"StoreImage('{tmp_path / 'a.zarr/images/he'}')"
    with image.open() as region:
        got = region(17, 5, 100, 30)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, pixels[:, 5:35, 17:117].transpose(1, 2, 0))
    store = read_zarr(tmp_path / "a.zarr")
    with image.open(2) as region:
        scale2 = store.images["he"]["scale2"]["image"].to_numpy()
        np.testing.assert_array_equal(region(3, 4, 50, 30), scale2[:, 4:34, 3:53].transpose(1, 2, 0))
    with (
        pytest.raises(ValueError, match=r"StoreImage\(.*\) has the levels 0 to 2, got level=3"),
        image.open(3),
    ):
        pass


def test_blocks_hold_whole_chunks(tmp_path: Path) -> None:
    image = StoreImage(write(tmp_path / "a.zarr", images={"he": he(chunks=(3, 96, 50))}), "he")
    assert image.tile_size() == (50, 96)
    assert image.block_size() == (4050, 4032)
    np.testing.assert_array_equal(image.thumbnail(240), picture().transpose(1, 2, 0))


def test_image_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A region reads its own chunks, and a thumbnail those of the smallest level that is large enough."""
    import zarr

    read: list[str] = []
    get = zarr.storage.LocalStore.get

    async def spy(self: Any, key: str, *args: Any, **kwargs: Any) -> Any:
        read.extend([key] if "/c/" in key else [])
        return await get(self, key, *args, **kwargs)

    image = StoreImage(write(tmp_path / "a.zarr", images={"he": he(scale_factors=[2, 2], chunks=(3, 64, 64))}), "he")
    assert image.tile_size(0) == (64, 64)
    assert image.block_size(0) == (4096, 4096)
    monkeypatch.setattr(zarr.storage.LocalStore, "get", spy)
    with image.open() as region:
        assert read == []
        region(10, 70, 20, 20)
        assert read == ["s0/c/0/1/0"]
    read.clear()
    thumbnail = image.thumbnail(60)
    assert {key.split("/")[0] for key in read} == {"s2"}
    assert thumbnail.shape == (40, 60, 3)
    whole = Image.fromarray(picture().transpose(1, 2, 0)).reduce(4)
    assert np.abs(thumbnail.astype(int) - np.asarray(whole)).mean() < 2


def test_image_fingerprint(tmp_path: Path) -> None:
    """It is that of the pixels' files: the same for a copy, another for other pixels, with no other element in it."""
    path = write(tmp_path / "a.zarr")
    first = StoreImage(path, "he").fingerprint()
    shutil.copytree(path, tmp_path / "b.zarr")
    assert StoreImage(tmp_path / "b.zarr", "he").fingerprint() == first
    other = picture()
    other[0, 0, 0] += 1
    assert StoreImage(write(tmp_path / "c.zarr", images={"he": he(pixels=other)}), "he").fingerprint() != first
    moved = write(tmp_path / "d.zarr", images={"he": he(Scale([3.0, 3.0], XY))}, tables={})
    assert StoreImage(moved, "he").fingerprint() == first


def test_there_is_no_such_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.zarr has no image 'ihc'"):
        StoreImage(write(tmp_path / "a.zarr"), "ihc")
