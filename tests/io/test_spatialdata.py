"""Elements of a SpatialData store: which is meant, which spots a table annotates, and where they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _helpers.spatialdata_store import (
    COUNTS,
    NAMES,
    PIXELS,
    XY,
    affine,
    annotation,
    apply,
    circles,
    he,
    load,
    picture,
    write,
)
from anndata import AnnData
from spatialdata import get_centroids, read_zarr
from spatialdata.models import Image2DModel, TableModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation

TRANSFORMATIONS = {
    "image scaled": (Scale([3.0, 3.0], XY), Identity(), 3.0),
    "spots scaled": (Identity(), Scale([0.25, 0.25], XY), 4.0),
    "translated": (Translation([100.0, -20.0], XY), Translation([-5.0, 7.5], XY), 1.0),
    "turned": (affine(30, 2.0, 50, 9), affine(-75, 0.5, 3, 4), 4.0),
    "sequences": (
        Sequence([Scale([2.0, 2.0], XY), affine(90, 1.0, 0, 300)]),
        Sequence([Translation([9.0, 1.0], XY), affine(15, 5.0, -7, 80)]),
        0.4,
    ),
}


@pytest.mark.parametrize("scale_factors", [None, [2, 2]])
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations(tmp_path: Path, name: str, scale_factors: list[int] | None) -> None:
    """Spots whose transformation is undone, and the image's done, are where they are in the image."""
    of_image, of_spots, ratio = TRANSFORMATIONS[name]
    where = apply(of_spots.inverse(), apply(of_image, PIXELS))
    path = write(
        tmp_path / "a.zarr",
        images={"he": he(of_image, scale_factors=scale_factors)},
        shapes={"spots": circles(where, of_spots, radius=8.0 * ratio)},
    )
    section = load(path)
    np.testing.assert_array_equal(section.pos, PIXELS)
    assert section.spot_diameter == pytest.approx(16)
    # spatialdata's own way to the coordinate system, and the image's own way back.
    store = read_zarr(path)
    there = get_centroids(store.shapes["spots"], "global").compute()[["x", "y"]].to_numpy()
    np.testing.assert_allclose(section.pos, apply(of_image.inverse(), there), atol=1e-6)


def test_coordinate_systems(tmp_path: Path) -> None:
    """The spots are in two, of which only one is the image's; then both share both."""
    both = {"global": Identity(), "small": Scale([0.5, 0.5], XY)}
    spots = circles(2 * PIXELS, transformations=both)
    path = write(tmp_path / "a.zarr", images={"he": he(system="small")}, shapes={"spots": spots})
    np.testing.assert_allclose(load(path).pos, PIXELS)
    with pytest.raises(
        ValueError,
        match=r"a\.zarr: coordinate_system='global' is no coordinate system of 'spots' and 'he'; there is small",
    ):
        load(path, coordinate_system="global")
    image = Image2DModel.parse(picture(), dims=("c", "y", "x"), transformations={"global": Scale([4, 4], XY)} | both)
    path = write(tmp_path / "b.zarr", images={"he": image}, shapes={"spots": spots})
    np.testing.assert_allclose(load(path).pos, 2 * PIXELS)
    np.testing.assert_allclose(load(path, coordinate_system="small").pos, 2 * PIXELS)
    spots = circles(transformations={"one": Identity(), "two": Identity()})
    image = Image2DModel.parse(picture(), dims=("c", "y", "x"), transformations={k: Identity() for k in ("one", "two")})
    path = write(tmp_path / "c.zarr", images={"he": image}, shapes={"spots": spots})
    with pytest.raises(ValueError, match=r"more than one coordinate system of 'spots' and 'he' \(one, two\); set c"):
        load(path)
    path = write(tmp_path / "d.zarr", images={"he": he(system="else")})
    with pytest.raises(ValueError, match=r"d\.zarr: there is no coordinate system of 'spots' and 'he'\."):
        load(path)


def test_rows_and_instances_are_matched_by_name(tmp_path: Path) -> None:
    """Another order, fewer rows than spots, and spots that are numbered."""
    order = [4, 0, 3]
    section = load(write(tmp_path / "a.zarr", tables={"table": annotation(order=order)}))
    np.testing.assert_allclose(section.pos, PIXELS[order])
    np.testing.assert_array_equal(section.adata.X, COUNTS[order])
    numbers = [15, 3, 8, 1, 0, 44]
    numbered = annotation(instances=numbers)
    section = load(
        write(tmp_path / "b.zarr", shapes={"spots": circles(index=numbers)}, tables={"table": numbered[::-1].copy()})
    )
    np.testing.assert_allclose(section.pos, PIXELS[::-1])
    assert list(section.adata.obs_names) == NAMES[::-1]


def test_instances_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", tables={"table": annotation(instances=[*NAMES[:5], "s9"])})
    with pytest.raises(ValueError, match=r"a\.zarr: table 'table' annotates 'spots', which has no spot 's9'"):
        load(path)
    path = write(tmp_path / "b.zarr", shapes={"spots": circles(index=[*NAMES[:5], "s1"])}, tables={
        "table": annotation(order=slice(5))
    })  # fmt: skip
    with pytest.raises(ValueError, match="'spots', which has more than one spot 's1'"):
        load(path)


def test_elements_are_named_where_there_are_several(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.zarr",
        images={"he": he(), "small": he(Scale([2.0, 2.0], XY), pixels=picture()[:, ::2, ::2])},
        shapes={"spots": circles(), "others": circles(PIXELS[::-1])},
        tables={"table": annotation(), "more": annotation("others"), "loose": AnnData(np.ones((1, 1)))},
    )
    with pytest.raises(ValueError, match=r"a\.zarr: there is more than one image \(he, small\); set image=\.\.\."):
        load(path)
    with pytest.raises(ValueError, match=r"one table of counts that annotates shapes \(more, table\); set table="):
        load(path, image="he")
    np.testing.assert_allclose(load(path, image="small", table="table").pos, PIXELS / 2)
    np.testing.assert_allclose(load(path, image="he", table="more").pos, PIXELS[::-1])
    np.testing.assert_allclose(load(path, image="he", shapes="others").pos, PIXELS[::-1])
    for options, message in (
        ({"image": "ihc"}, "image='ihc' is no image; there is he, small"),
        ({"table": "loose"}, "table='loose' is no table of counts that annotates shapes; there is more, table"),
        ({"shapes": "cells"}, "shapes='cells' is no element of shapes; there is others, spots"),
        ({"table": "more", "shapes": "spots"}, "shapes='spots' is no element of shapes that table 'more' annotates"),
    ):
        with pytest.raises(ValueError, match=message):
            load(path, **{"image": "he", **options})
    path = write(tmp_path / "b.zarr", shapes={"spots": circles(), "others": circles()})
    with pytest.raises(ValueError, match="there is no table of counts that annotates others"):
        load(path, shapes="others")


def test_a_table_of_several_elements(tmp_path: Path) -> None:
    shapes = ["left"] * 3 + ["right"] * 3
    adata = AnnData(COUNTS.astype(np.float32), obs=pd.DataFrame({"element": shapes, "spot": NAMES}, index=NAMES))
    table = TableModel.parse(adata, region=["left", "right"], region_key="element", instance_key="spot")
    path = write(tmp_path / "a.zarr", shapes={"left": circles(), "right": circles()}, tables={"table": table})
    with pytest.raises(
        ValueError, match=r"one element of shapes that table 'table' annotates \(left, right\); set shapes="
    ):
        load(path)
    section = load(path, shapes="right")
    np.testing.assert_allclose(section.pos, PIXELS[3:])
    np.testing.assert_array_equal(section.adata.X, COUNTS[3:])


def test_a_damaged_store(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    (path / "shapes" / "spots" / "shapes.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"a\.zarr is damaged or not a SpatialData store"):
        load(path)
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(ValueError, match=r"b\.zarr is damaged or not a SpatialData store"):
        load(tmp_path / "b.zarr")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.zarr")
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(ImportError, match=r"a\.zarr needs spatialdata .*pip install 'hist2st_pyg\[spatialdata\]'"):
        load(path)
