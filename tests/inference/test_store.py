from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

pytest.importorskip("spatialdata")

from spatialdata import SpatialData, get_centroids, get_element_annotators, match_element_to_table, read_zarr
from spatialdata.models import Image2DModel, ShapesModel, TableModel
from spatialdata.transformations import Identity, Scale, get_transformation

from hist2st_pyg import Hist2ST, Preprocessing, Section, load_sections, predict_section
from hist2st_pyg.inference.store import write_spatialdata
from hist2st_pyg.section import SectionRecord

XY = ("x", "y")
IMAGE_SCALE, SPOTS_SCALE = 2.0, 0.5
"""Of the image's and the spots' pixels to the coordinate system."""


@pytest.fixture(scope="module")
def model() -> Hist2ST:
    torch.manual_seed(0)
    built = Hist2ST(
        2, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="sage", gnn_layers=1, likelihood="zinb",
    )  # fmt: skip
    built.preprocessing = Preprocessing(("GENE1", "GENE2"), patch_size=28)
    built.training_sections = {"train": [SectionRecord("A2", "A", "dataset"), SectionRecord("X")]}
    return built.eval()


@pytest.fixture(scope="module")
def prediction(model: Hist2ST, cohort: list[Section]) -> AnnData:
    return predict_section(model, cohort[0])


def make_store(path: Path, section: Section, instances: Any = None, **changes: Any) -> Path:
    """The store of a section; spots and image have each their own transformation to the coordinate system."""
    with section.require_image().open() as region:
        pixels = region(0, 0, *section.require_image().size)
    names = list(section.adata.obs_names) if instances is None else instances
    adata = section.adata.copy()
    adata.obs["element"], adata.obs["spot"] = "spots", names
    parts = {
        "images": {
            "he": Image2DModel.parse(
                pixels, dims=("y", "x", "c"), transformations={"global": Scale([IMAGE_SCALE, IMAGE_SCALE], XY)}
            )
        },
        "shapes": {
            "spots": ShapesModel.parse(
                section.pos * IMAGE_SCALE / SPOTS_SCALE, geometry=0, radius=5.0, index=names,
                transformations={"global": Scale([SPOTS_SCALE, SPOTS_SCALE], XY)},
            )
        },
        "tables": {"table": TableModel.parse(adata, region="spots", region_key="element", instance_key="spot")},
        **changes,
    }  # fmt: skip
    SpatialData(**parts).write(path)
    return path


def contents(path: Path) -> dict[str, str]:
    """A hash of each file of a store."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_round_trip(written: AnnData, prediction: AnnData) -> None:
    np.testing.assert_array_equal(written.X, prediction.X)
    assert {"mean", "sd"} <= set(prediction.layers)
    for field in ("layers", "obsm"):
        np.testing.assert_equal(dict(getattr(written, field)), dict(getattr(prediction, field)))
    pd.testing.assert_frame_equal(written.obs[list(prediction.obs)], prediction.obs)
    pd.testing.assert_frame_equal(written.var, prediction.var)
    read = dict(written.uns)
    assert set(read.pop("spatialdata_attrs")) == {"region", "region_key", "instance_key"}
    np.testing.assert_equal(read, dict(prediction.uns))
    assert list(read["hist2st"]["training_sections"]) == ["A2", "X"]
    assert list(read["hist2st"]["training_patients"]) == ["A"]


def test_a_new_store(prediction: AnnData, cohort: list[Section], tmp_path: Path) -> None:
    write_spatialdata(prediction, tmp_path / "new" / "a.zarr")
    assert list(prediction.obs) == ["array_col", "array_row"]  # it is not written on itself
    assert set(prediction.uns) == {"spatial", "hist2st"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.zarr"]
    store = read_zarr(tmp_path / "new" / "a.zarr")
    assert {kind: list(getattr(store, kind)) for kind in ("images", "shapes", "tables")} == {
        "images": ["thumbnail"],
        "shapes": ["spots"],
        "tables": ["hist2st"],
    }
    check_round_trip(store["hist2st"], prediction)
    assert get_element_annotators(store, "spots") == {"hist2st"}
    elements, _ = match_element_to_table(store, "spots", "hist2st")
    assert list(elements["spots"].index) == list(prediction.obs_names)
    centroids = get_centroids(store["spots"], "global").compute()
    np.testing.assert_allclose(centroids[["x", "y"]], cohort[0].pos)
    (library,) = prediction.uns["spatial"].values()
    assert set(2 * store["spots"]["radius"]) == {library["scalefactors"]["spot_diameter_fullres"]}
    # The thumbnail covers the image: its corner is the image's.
    thumbnail = store["thumbnail"]
    np.testing.assert_array_equal(thumbnail.transpose("y", "x", "c"), library["images"]["hires"])
    matrix = get_transformation(thumbnail).to_affine_matrix(XY, XY)
    corner = matrix @ [thumbnail.sizes["x"], thumbnail.sizes["y"], 1]
    np.testing.assert_allclose(corner[:2], cohort[0].require_image().size, atol=2)


def test_names_of_a_new_store(prediction: AnnData, tmp_path: Path) -> None:
    write_spatialdata(prediction, tmp_path / "a.zarr", table="predicted", shapes="grid", image="he")
    store = read_zarr(tmp_path / "a.zarr")
    assert (list(store.images), list(store.shapes), list(store.tables)) == (["he"], ["grid"], ["predicted"])


def test_without_an_image(prediction: AnnData, tmp_path: Path) -> None:
    bare = prediction.copy()
    del bare.uns["spatial"]
    write_spatialdata(bare, tmp_path / "a.zarr")
    store = read_zarr(tmp_path / "a.zarr")
    assert list(store.images) == []
    assert set(2 * store["spots"]["radius"]) == {prediction.uns["hist2st"]["pitch"] / 2}


@pytest.mark.parametrize("numbered", [False, True])
def test_into_the_section_s_own_store(model: Hist2ST, cohort: list[Section], tmp_path: Path, numbered: bool) -> None:
    """Load, predict, write: the table annotates the spots by the names that they have in the store."""
    instances = np.random.default_rng(0).permutation(len(cohort[0])) if numbered else None
    path = make_store(tmp_path / "a.zarr", cohort[0], instances)
    (section,) = load_sections("spatialdata", path)
    np.testing.assert_allclose(section.pos, cohort[0].pos)
    prediction = predict_section(model, section)
    np.testing.assert_allclose(prediction.X, predict_section(model, cohort[0]).X, rtol=1e-5, atol=1e-6)
    before = contents(path)
    write_spatialdata(prediction, path)
    after = contents(path)
    changed = {file for file in after if before.get(file) != after[file]}
    assert {file for file in changed if not file.startswith("tables/hist2st/")} == {"zarr.json"}
    assert before.keys() <= after.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    store = read_zarr(path)
    assert store.has_consolidated_metadata()
    check_round_trip(store["hist2st"], prediction)
    assert get_element_annotators(store, "spots") == {"table", "hist2st"}
    elements, rows = match_element_to_table(store, "spots", "hist2st")
    pixels = get_centroids(elements["spots"], "global").compute()[["x", "y"]].to_numpy() / IMAGE_SCALE
    np.testing.assert_allclose(pixels, rows.obsm["spatial"])
    # The section is read as before: a prediction holds no counts.
    np.testing.assert_array_equal(load_sections("spatialdata", path)[0].pos, section.pos)


def test_overwriting(prediction: AnnData, cohort: list[Section], tmp_path: Path) -> None:
    path = make_store(tmp_path / "a.zarr", cohort[0])
    write_spatialdata(prediction, path)
    changed = prediction.copy()
    changed.X = changed.X + 1
    del changed.layers["sd"]
    before = contents(path)
    with pytest.raises(
        ValueError, match=r"a\.zarr already has a table 'hist2st'; choose another name, or set overwrite=True"
    ):
        write_spatialdata(changed, path)
    assert contents(path) == before
    write_spatialdata(changed, path, overwrite=True)
    store = read_zarr(path)
    np.testing.assert_array_equal(store["hist2st"].X, changed.X)
    assert "sd" not in store["hist2st"].layers
    write_spatialdata(prediction, path, table="second")
    assert set(read_zarr(path).tables) == {"table", "hist2st", "second"}
    with pytest.raises(ValueError, match="table 'table' is not a prediction and will not be replaced"):
        write_spatialdata(prediction, path, table="table", overwrite=True)
    with pytest.raises(ValueError, match=r"a\.zarr already has shapes/spots; choose another name for the table"):
        write_spatialdata(prediction, path, table="Spots", overwrite=True)


def test_spots_without_a_table(prediction: AnnData, cohort: list[Section], tmp_path: Path) -> None:
    path = make_store(tmp_path / "a.zarr", cohort[0], tables={})
    assert not (path / "tables").exists()
    write_spatialdata(prediction, path)
    check_round_trip(read_zarr(path)["hist2st"], prediction)


def test_the_former_format(prediction: AnnData, cohort: list[Section], tmp_path: Path) -> None:
    from spatialdata._io.format import SpatialDataContainerFormatV01

    store = read_zarr(make_store(tmp_path / "new.zarr", cohort[0]))
    store.write(tmp_path / "a.zarr", sdata_formats=SpatialDataContainerFormatV01())
    with pytest.warns(UserWarning, match="not stored in the most current format"):
        write_spatialdata(prediction, tmp_path / "a.zarr")
    assert not list((tmp_path / "a.zarr").rglob("zarr.json"))
    with pytest.warns(UserWarning, match="not stored in the most current format"):
        check_round_trip(read_zarr(tmp_path / "a.zarr")["hist2st"], prediction)


def test_another_section_s_spots(prediction: AnnData, cohort: list[Section], tmp_path: Path) -> None:
    section = cohort[0]
    moved = section.adata.copy()
    moved.obsm["spatial"] = section.pos + np.array([0, 3])
    path = make_store(tmp_path / "a.zarr", replace(section, adata=moved))
    with pytest.raises(
        ValueError, match=r"spot .* is 3\.0 px from its position in 'spots'; check that the prediction is of"
    ):
        write_spatialdata(prediction, path)
    renamed = prediction.copy()
    renamed.obs_names = [f"{name}-1" for name in renamed.obs_names]
    with pytest.raises(ValueError, match=r"a\.zarr: there is no element of shapes with the prediction's 48 spots"):
        write_spatialdata(renamed, path)
    assert set(read_zarr(path).tables) == {"table"}


def test_elements_are_named_where_there_are_several(prediction: AnnData, cohort: list[Section], tmp_path: Path) -> None:
    whole = read_zarr(make_store(tmp_path / "one.zarr", cohort[0]))
    small = Image2DModel.parse(whole["he"].to_numpy()[:, ::2, ::2], transformations={"global": Scale([4.0, 4.0], XY)})
    other = ShapesModel.parse(cohort[0].pos, geometry=0, radius=1.0, transformations={"global": Identity()})
    other.index = list(cohort[0].adata.obs_names)
    path = make_store(
        tmp_path / "a.zarr", cohort[0], images={"he": whole["he"], "small": small},
        shapes={"spots": whole["spots"], "others": other},
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"more than one element of shapes .* \(others, spots\); set shapes="):
        write_spatialdata(prediction, path)
    with pytest.raises(ValueError, match="shapes='cells' is no element of shapes; there is others, spots"):
        write_spatialdata(prediction, path, shapes="cells")
    with pytest.raises(ValueError, match=r"more than one image \(he, small\); set image="):
        write_spatialdata(prediction, path, shapes="spots")
    with pytest.raises(ValueError, match="the prediction is of this section and of its image 'small'"):
        write_spatialdata(prediction, path, shapes="spots", image="small")
    write_spatialdata(prediction, path, shapes="spots", image="he")
    assert get_element_annotators(read_zarr(path), "spots") == {"table", "hist2st"}


def test_what_is_no_store_is_not_replaced(prediction: AnnData, tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"a\.zarr exists and is not a SpatialData store; it will not be replaced"):
        write_spatialdata(prediction, tmp_path / "a.zarr", overwrite=True)
    assert (tmp_path / "a.zarr" / "thesis.txt").is_file()


def test_user_errors(prediction: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = prediction.copy()
    two.uns["spatial"]["another"] = {}
    with pytest.raises(ValueError, match="The prediction must be of one image, got 2"):
        write_spatialdata(two, tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="adata must be a prediction, but uns lacks 'hist2st'"):
        write_spatialdata(AnnData(np.ones((2, 2))), tmp_path / "a.zarr")
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(ImportError, match=r"a\.zarr needs spatialdata .*pip install 'hist2st_pyg\[spatialdata\]'"):
        write_spatialdata(prediction, tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True])
def test_a_broken_write_leaves_nothing(prediction: AnnData, cohort: list[Section], tmp_path: Path, there: bool) -> None:
    path = make_store(tmp_path / "a.zarr", cohort[0]) if there else tmp_path / "a.zarr"
    before = contents(path)
    broken = prediction.copy()
    broken.uns["what"] = object()  # zarr cannot hold it
    with pytest.raises(Exception, match="object"):
        write_spatialdata(broken, path)
    assert contents(path) == before
    assert [file.name for file in tmp_path.iterdir()] == (["a.zarr"] if there else [])
