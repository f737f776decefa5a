from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from anndata import AnnData
from PIL import Image
from scipy.sparse import csc_matrix, csr_matrix

from hist2st_pyg.datasets import load_sections
from hist2st_pyg.image import FileImage
from hist2st_pyg.section import SectionRecord

COUNTS = np.array([[1, 0, 3], [0, 2, 0], [4, 4, 4], [0, 0, 9]])
POS = np.array([[100.0, 50.0], [150.0, 50.0], [100.0, 100.0], [150.0, 100.0]])


def write(path: Path, image: str | None = None, **changes: Any) -> Path:
    """Write a section of four spots; the keyword arguments replace or add parts of it."""
    parts: dict[str, Any] = {
        "X": csr_matrix(COUNTS.astype(np.float32)),
        "obs": pd.DataFrame(index=["s1", "s2", "s3", "s4"]),
        "var": pd.DataFrame(index=["g1", "g2", "g3"]),
        "obsm": {"spatial": POS},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    AnnData(**{**parts, **changes}).write_h5ad(path)
    if image is not None:
        Image.new("RGB", (200, 160), "white").save(path.with_name(image))
    return path


def columns(**values: Any) -> pd.DataFrame:
    return pd.DataFrame(values, index=["s1", "s2", "s3", "s4"])


def test_one_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "mouse.h5ad", "mouse.png")
    (section,) = load_sections("anndata", path)
    assert section.record == SectionRecord("mouse", None, "unknown")
    np.testing.assert_array_equal(section.adata.X.toarray(), COUNTS)
    np.testing.assert_array_equal(section.pos, POS)
    np.testing.assert_array_equal(section.grid, [[0, 0], [1, 0], [0, 1], [1, 1]])
    assert section.require_image().size == (200, 160)
    assert section.label is None
    assert section.um_per_pixel is None
    assert section.spot_diameter is None
    assert "array derived from positions" in caplog.text


def test_folders(tmp_path: Path) -> None:
    write(tmp_path / "b.h5ad", "b.jpg")
    write(tmp_path / "a" / "section.h5ad", "he.jpg")
    write(tmp_path / "c.h5ad")
    sections = load_sections("anndata", tmp_path)
    assert [section.name for section in sections] == ["a", "b", "c"]
    images = [section.image.path.name if isinstance(section.image, FileImage) else None for section in sections]
    assert images == ["he.jpg", "b.jpg", None]
    assert [s.name for s in load_sections("anndata", tmp_path, ["c", "a"])] == ["c", "a"]
    assert [s.name for s in load_sections("anndata", tmp_path / "a")] == ["a"]
    assert [s.name for s in load_sections("anndata", tmp_path / "a" / "section.h5ad")] == ["a"]
    write(tmp_path / "c" / "section.h5ad")
    with pytest.raises(ValueError, match=r"both c\.h5ad and c/section\.h5ad"):
        load_sections("anndata", tmp_path)


def test_image_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad")
    write(tmp_path / "b.h5ad")
    Image.new("RGB", (30, 20)).save(tmp_path / "elsewhere.png")
    (section,) = load_sections("anndata", path, image=tmp_path / "elsewhere.png")
    assert section.require_image().size == (30, 20)
    with pytest.raises(ValueError, match="image is for a single section, got 2 sections: a, b"):
        load_sections("anndata", tmp_path, image=tmp_path / "elsewhere.png")
    with pytest.raises(FileNotFoundError, match=r"'a': image: .*absent"):
        load_sections("anndata", path, image=tmp_path / "absent.png")


def test_two_images(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", "a.png")
    write(tmp_path / "a.h5ad", "a.jpg")
    with pytest.raises(ValueError, match=r"a\.h5ad has 2 images beside it \(a\.jpg, a\.png\); set image"):
        load_sections("anndata", path)
    (section,) = load_sections("anndata", path, image=tmp_path / "a.png")
    assert section.require_image().size == (200, 160)


def test_patients(tmp_path: Path) -> None:
    write(tmp_path / "a.h5ad", uns={"patient": "P1"})
    write(tmp_path / "b.h5ad", obs=columns(patient=[7, 7, 7, 7], animal=["x", "x", "y", "y"]))
    assert [s.record for s in load_sections("anndata", tmp_path)] == [
        SectionRecord("a", "P1", "dataset"), SectionRecord("b", "7", "dataset"),
    ]  # fmt: skip
    assert [s.patient for s in load_sections("anndata", tmp_path, patients={"a": "Q", "b": "Q"})] == ["Q", "Q"]
    with pytest.raises(ValueError, match="patients has no entry for section 'b'"):
        load_sections("anndata", tmp_path, patients={"a": "Q"})
    with pytest.raises(ValueError, match=r"patients names an unknown section 'c'\. Choose from: a, b"):
        load_sections("anndata", tmp_path, ["a"], patients={"a": "Q", "c": "Q"})
    assert load_sections("anndata", tmp_path, ["a"], patients={"a": "Q", "b": "R"})[0].patient_source == "given"
    with pytest.raises(ValueError, match="patients must be a mapping section -> patient, or 'each_section', got 'e"):
        load_sections("anndata", tmp_path, patients="each")
    with pytest.raises(ValueError, match=r"b\.h5ad: a section must be of one patient, obs\['animal'\] has x, y"):
        load_sections("anndata", tmp_path, ["b"], patient_key="animal")
    with pytest.raises(ValueError, match=r"a\.h5ad has neither uns\['animal'\] nor obs\['animal'\]"):
        load_sections("anndata", tmp_path, ["a"], patient_key="animal")


@pytest.mark.parametrize(
    "value", [1, 1.0, "1", " 1 ", np.float32(1), np.array(["1"]), np.array([1.0]), np.array([[1]])]
)
def test_a_number_is_one_patient_however_it_is_written(tmp_path: Path, value: Any) -> None:
    write(tmp_path / "a.h5ad", uns={"patient": value})
    write(tmp_path / "b.h5ad", obs=columns(patient=np.full(4, np.asarray(value).ravel()[0])))
    assert [s.patient for s in load_sections("anndata", tmp_path)] == ["1", "1"]


@pytest.mark.parametrize("value", ["", np.nan])
def test_an_empty_patient_is_unknown(tmp_path: Path, value: Any) -> None:
    write(tmp_path / "a.h5ad", uns={"patient": value})
    write(tmp_path / "b.h5ad", obs=columns(patient=[value] * 4))
    sections = load_sections("anndata", tmp_path)
    assert [s.patient for s in sections] == [None, None]
    declared = load_sections("anndata", tmp_path, patients="each_section")
    assert [s.record for s in declared] == [SectionRecord(name, name, "each_section") for name in ("a", "b")]


def test_what_is_no_patient_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", uns={"patient": np.array(["x", "y"])})
    with pytest.raises(ValueError, match=r"a\.h5ad: uns\['patient'\] must be the name of one patient, got array"):
        load_sections("anndata", path)
    path = write(tmp_path / "b.h5ad", obs=columns(patient=[1.0, 1.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match=r"b\.h5ad: a section must be of one patient, obs\['patient'\] has 1, no name"):
        load_sections("anndata", path)


def test_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", obs=columns(region=pd.Categorical(["tumor", None, "stroma", "tumor"])))
    (section,) = load_sections("anndata", path, label_key="region")
    assert section.label is not None
    assert list(section.label) == ["tumor", "undetermined", "stroma", "tumor"]
    assert load_sections("anndata", path)[0].label is None
    with pytest.raises(ValueError, match=r"a\.h5ad has no obs\['cluster'\] for the labels; its obs: region"):
        load_sections("anndata", path, label_key="cluster")


def test_counts_layer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", X=np.log1p(COUNTS), layers={"raw": csc_matrix(COUNTS)})
    with pytest.raises(ValueError, match=r"a\.h5ad: X must hold raw counts, got .*there are none in layers"):
        load_sections("anndata", path)
    (section,) = load_sections("anndata", path, counts_layer="raw")
    assert section.adata.X.format == "csr"
    np.testing.assert_array_equal(section.adata.X.toarray(), COUNTS)
    with pytest.raises(ValueError, match=r"a\.h5ad has no layer 'counts' for the counts; its layers: raw"):
        load_sections("anndata", path, counts_layer="counts")


def test_array_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", obs=columns(array_col=[3, 5, 4, 6], array_row=[1, 1, 2, 2]))
    np.testing.assert_array_equal(load_sections("anndata", path)[0].grid, [[3, 1], [5, 1], [4, 2], [6, 2]])
    write(path, obs=columns(array_col=[3, 5, 4, 6]))
    with pytest.raises(ValueError, match=r"a\.h5ad has no obs\['array_row'\]; give both"):
        load_sections("anndata", path)


def visium(diameter: float) -> dict[str, Any]:
    return {"scalefactors": {"spot_diameter_fullres": diameter, "tissue_hires_scalef": 0.1}}


def test_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "section.h5ad", uns={"spatial": {"lib": visium(57.5)}})
    provenance = path.with_name("provenance.json")
    provenance.write_text(json.dumps({"um_per_px": 0.5, "spot_diameter_px": 99}))
    (section,) = load_sections("anndata", path)
    assert (section.spot_diameter, section.um_per_pixel) == (57.5, 0.5)
    (section,) = load_sections("anndata", path, spot_diameter=20, um_per_pixel=2)
    assert (section.spot_diameter, section.um_per_pixel) == (20, 2)
    with pytest.raises(ValueError, match="um_per_pixel must be a positive number or None"):
        load_sections("anndata", path, um_per_pixel=0)

    write(path)
    assert load_sections("anndata", path)[0].spot_diameter == 99
    provenance.write_text(json.dumps({"um_per_px": -1, "spot_diameter_px": -1}))
    (section,) = load_sections("anndata", path)
    assert section.spot_diameter is section.um_per_pixel is None
    for text in ("{", "[]"):
        provenance.write_text(text)
        with pytest.raises(ValueError, match=r"provenance\.json"):
            load_sections("anndata", path)


def test_several_libraries(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", uns={"spatial": {"one": visium(5), "two": visium(5)}})
    with pytest.raises(ValueError, match=r"a\.h5ad holds 2 libraries \(one, two\); a file must hold one section"):
        load_sections("anndata", path)


def test_positions_are_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", obsm={}, obs=columns(x_pixel=[1, 2, 3, 4], y_pixel=[1, 2, 3, 4]))
    with pytest.raises(ValueError, match=r"a\.h5ad has no obsm\['spatial'\] .*Its obs: x_pixel, y_pixel"):
        load_sections("anndata", path)


def test_wrong_files(tmp_path: Path) -> None:
    (tmp_path / "a.h5ad").write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"a\.h5ad is damaged or not an AnnData file \(\.h5ad\)"):
        load_sections("anndata", tmp_path)
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ValueError, match=r"a\.csv is not an \.h5ad file"):
        load_sections("anndata", tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no sections"):
        load_sections("anndata", tmp_path / "empty")


def test_real_sections(real_data: Path) -> None:
    root = real_data / "sections"
    if not root.is_dir():
        pytest.skip(f"no sections at {root}")
    lung, mob = load_sections("anndata", root, ["hest_like_lung", "stahl_mob_rep1"])
    assert lung.adata.shape == (200, 338)
    assert lung.um_per_pixel is None
    assert mob.adata.shape == (267, 16573)
    assert mob.um_per_pixel == pytest.approx(200 / 58)
    assert mob.spot_diameter == pytest.approx(29)
    # Where the authors' own array positions say the spots are.
    array = mob.adata.obs[["array_x", "array_y"]].to_numpy()
    np.testing.assert_array_equal(mob.grid, np.rint(array - array.min(axis=0)))
    for section in (lung, mob):
        width, height = section.require_image().size
        assert (section.pos >= 0).all()
        assert (section.pos <= [width, height]).all()


@pytest.mark.parametrize("suffix", [".btf", ".ome.tif", ".OME.TIF", ".TIF", ".tf8", ".PNG"])
def test_the_image_is_found_by_any_of_its_suffixes(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "a.h5ad")
    pixels = np.full((160, 200, 3), 90, np.uint8)
    path = tmp_path / f"a{suffix}"
    if suffix == ".PNG":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, photometric="rgb")
    (section,) = load_sections("anndata", tmp_path)
    assert section.require_image().size == (200, 160)


def test_what_seurat_and_cellxgene_write_reads_as_a_section(tmp_path: Path) -> None:
    obs = columns(
        array_col=pd.Categorical(["0", "1", "0", "1"]), array_row=[0.0, 0.0, 1.0, 1.0], in_tissue=[1, 1, 1, 0]
    )
    adata = AnnData(csr_matrix(COUNTS.astype(np.float32)), obs=obs, var=pd.DataFrame(index=["g1", "g2", "g3"]))
    adata.raw = adata
    adata.X = csr_matrix(np.log1p(COUNTS).astype(np.float32))
    adata.obsm["spatial"] = np.c_[POS, np.zeros(4)]
    adata.uns["spatial"] = {"is_single": True, "lib": {"scalefactors": {"spot_diameter_fullres": np.array([30.0])}}}
    adata.uns["patient"] = np.array([7.0])
    adata.write_h5ad(tmp_path / "a.h5ad")
    (section,) = load_sections("anndata", tmp_path)
    np.testing.assert_array_equal(section.adata.X.toarray(), COUNTS[:3])
    np.testing.assert_array_equal(section.pos, POS[:3])
    np.testing.assert_array_equal(section.grid, [[0, 0], [1, 0], [0, 1]])
    assert (section.patient, section.spot_diameter) == ("7", 30)


def test_an_element_of_a_newer_anndata_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", uns={"x": 1})
    with h5py.File(path, "a") as file:
        file["uns/x"].attrs["encoding-type"] = "of-a-later-anndata"
    with pytest.raises(
        ValueError, match=r"a\.h5ad is damaged or not an AnnData file .*: /uns/x: No read method"
    ) as error:
        load_sections("anndata", tmp_path)
    assert "\n" not in str(error.value)


def test_an_index_beyond_the_genes_is_refused_and_does_not_end_the_process(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad")
    with h5py.File(path, "a") as file:
        file["X/indices"][0] = 10**8
    with pytest.raises(ValueError, match=r"a\.h5ad is damaged or not an AnnData file .*: indices must be < "):
        load_sections("anndata", tmp_path)
