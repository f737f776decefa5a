from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix

pytest.importorskip("spatialdata")

from _helpers.spatialdata_store import (
    COUNTS,
    HEIGHT,
    NAMES,
    PIXELS,
    WIDTH,
    XY,
    affine,
    annotation,
    apply,
    circles,
    he,
    picture,
    write,
)
from shapely import Polygon
from spatialdata import SpatialData, get_centroids, read_zarr
from spatialdata.models import Image2DModel, ShapesModel, TableModel
from spatialdata.transformations import Identity, Scale, Sequence, Translation

from hist2st_pyg import Section, load_sections, to_data
from hist2st_pyg.datasets.spatialdata import is_dataset
from hist2st_pyg.section import SectionRecord


def load(path: Path, **options: Any) -> Section:
    (section,) = load_sections("spatialdata", path, **options)
    return section


def test_a_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    section = load(write(tmp_path / "mouse.zarr"), um_per_pixel=0.5)
    assert (section.name, section.patient, section.um_per_pixel, section.spot_diameter) == ("mouse", None, 0.5, 16)
    np.testing.assert_array_equal(section.adata.X, COUNTS)
    np.testing.assert_allclose(section.pos, PIXELS)
    np.testing.assert_array_equal(section.grid, [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    assert list(section.adata.obs_names) == NAMES
    assert section.label is None
    data = to_data(section, ["g1", "g2"], patch_size=8, k=2)
    np.testing.assert_array_equal(data.x[:, :, 2:6, 2:6].float().mean((2, 3)), [[10, 20, 30]] * 6)


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


def test_polygons(tmp_path: Path) -> None:
    squares = pd.Series([Polygon([(x - 5, y - 5), (x + 5, y - 5), (x + 5, y + 5), (x - 5, y + 5)]) for x, y in PIXELS])
    import geopandas

    cells = ShapesModel.parse(geopandas.GeoDataFrame({"geometry": squares.to_numpy()}, index=NAMES))
    section = load(write(tmp_path / "a.zarr", shapes={"spots": cells}))
    np.testing.assert_allclose(section.pos, PIXELS)
    assert section.spot_diameter is None


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


def test_without_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", images={}, shapes={"spots": circles(to=Scale([2.0, 2.0], XY))})
    section = load(path)
    assert section.image is None
    np.testing.assert_allclose(section.pos, 2 * PIXELS)
    assert section.spot_diameter == 32
    with pytest.raises(ValueError, match="image='he' is no image; there is none"):
        load(path, image="he")


def test_predictions_are_no_counts(tmp_path: Path) -> None:
    predicted = annotation(uns={"hist2st": {"task": "prediction"}})
    predicted.X = np.full((6, 3), 0.5, dtype=np.float32)
    path = write(tmp_path / "a.zarr", tables={"table": annotation(), "hist2st": predicted})
    np.testing.assert_array_equal(load(path).adata.X, COUNTS)
    with pytest.raises(ValueError, match=r"a\.zarr: the table: X must hold raw counts, got .*0\.5"):
        load(path, table="hist2st")


def test_what_the_table_says(tmp_path: Path) -> None:
    obs = pd.DataFrame(
        {"array_row": range(6), "array_col": range(6, 12), "kind": pd.Categorical(["a", None, *"bcab"]), "animal": 7},
        index=NAMES,
    )
    table = annotation(obs=obs, uns={"patient": "P1"}, layers={"raw": csc_matrix(10 * COUNTS)})
    path = write(tmp_path / "a.zarr", tables={"table": table})
    section = load(path, label_key="kind", counts_layer="raw")
    assert section.record == SectionRecord("a", "P1", "dataset")
    assert section.label is not None
    assert list(section.label) == ["a", "undetermined", "b", "c", "a", "b"]
    np.testing.assert_array_equal(section.grid, np.stack([range(6, 12), range(6)], axis=1))
    np.testing.assert_array_equal(section.adata.X.toarray(), 10 * COUNTS)
    assert section.adata.X.format == "csr"
    assert load(path, patient_key="animal").patient == "7"
    assert load(path, patients={"a": "Q"}).record == SectionRecord("a", "Q", "given")
    with pytest.raises(ValueError, match=r"a\.zarr: the table has no layer 'normed' for the counts; its layers: raw"):
        load(path, counts_layer="normed")
    with pytest.raises(ValueError, match=r"a\.zarr has no obs\['tissue'\] for the labels"):
        load(path, label_key="tissue")
    with pytest.raises(ValueError, match="patients has no entry for section 'a'"):
        load(path, patients={"b": "Q"})


def test_folders(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.zarr")
    (tmp_path / "notes.txt").touch()
    assert [s.name for s in load_sections("spatialdata", tmp_path)] == ["a", "b"]
    assert [s.name for s in load_sections("spatialdata", tmp_path, ["b"])] == ["b"]
    with pytest.raises(ValueError, match=r"Data set 'spatialdata' in .* has no section 'c'\. Available: a, b"):
        load_sections("spatialdata", tmp_path, ["c"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no sections"):
        load_sections("spatialdata", tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"There is no store or folder .*absent"):
        load_sections("spatialdata", tmp_path / "absent")


def test_recognizes(tmp_path: Path) -> None:
    path = write(tmp_path / "stores" / "a.zarr")
    assert is_dataset(path)
    assert is_dataset(tmp_path / "stores")
    assert not is_dataset(tmp_path)
    for element in ("tables/table", "images/he", "images/he/s0", "shapes/spots"):
        assert not is_dataset(path / element)
    table = read_zarr(path)["table"]
    table.write_zarr(tmp_path / "table.zarr")
    assert not is_dataset(tmp_path / "table.zarr")
    (tmp_path / "file.zarr").touch()
    assert not is_dataset(tmp_path / "file.zarr")
    assert not is_dataset(tmp_path / "absent")
    for content in ("[1]", "{", '{"attributes": {}}'):
        (tmp_path / "other.zarr").mkdir(exist_ok=True)
        (tmp_path / "other.zarr" / "zarr.json").write_text(content)
        assert not is_dataset(tmp_path / "other.zarr")


def test_the_former_format(tmp_path: Path) -> None:
    from spatialdata._io.format import SpatialDataContainerFormatV01

    store = SpatialData(
        images={"he": he(Scale([2.0, 2.0], XY), scale_factors=[2])},
        shapes={"spots": circles(2 * PIXELS)},
        tables={"table": annotation()},
    )
    store.write(tmp_path / "a.zarr", sdata_formats=SpatialDataContainerFormatV01())
    assert is_dataset(tmp_path / "a.zarr")
    with pytest.warns(UserWarning, match="not stored in the most current format"):
        section = load(tmp_path / "a.zarr")
    np.testing.assert_allclose(section.pos, PIXELS)
    with section.require_image().open() as region:
        np.testing.assert_array_equal(region(0, 0, WIDTH, HEIGHT), picture().transpose(1, 2, 0))


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


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (picture().astype(np.uint16), r"a\.zarr: image 'he' must be 8-bit RGB .*, got uint16 with axes c, y, x"),
        (picture()[:2], "got uint8 with axes c, y, x and 2 channels"),
        (picture().astype(np.float32) / 255, "got float32"),
    ],
)
def test_other_pixels(tmp_path: Path, pixels: Any, message: str) -> None:
    path = write(tmp_path / "a.zarr", images={"he": he(pixels=pixels, channels=None)})
    with pytest.raises(ValueError, match=message):
        load(path)
