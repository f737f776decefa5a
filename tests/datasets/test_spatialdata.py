from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix

pytest.importorskip("spatialdata")

from _helpers.spatialdata_store import (
    COUNTS,
    HEIGHT,
    NAMES,
    PIXELS,
    WIDTH,
    XY,
    annotation,
    circles,
    he,
    load,
    picture,
    write,
)
from shapely import Polygon
from spatialdata import SpatialData, read_zarr
from spatialdata.models import ShapesModel
from spatialdata.transformations import Scale

from hist2st_pyg import load_sections, to_data
from hist2st_pyg.datasets.spatialdata import is_dataset
from hist2st_pyg.section import SectionRecord


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


def test_polygons(tmp_path: Path) -> None:
    squares = pd.Series([Polygon([(x - 5, y - 5), (x + 5, y - 5), (x + 5, y + 5), (x - 5, y + 5)]) for x, y in PIXELS])
    import geopandas

    cells = ShapesModel.parse(geopandas.GeoDataFrame({"geometry": squares.to_numpy()}, index=NAMES))
    section = load(write(tmp_path / "a.zarr", shapes={"spots": cells}))
    np.testing.assert_allclose(section.pos, PIXELS)
    assert section.spot_diameter is None


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
