from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scanpy
import squidpy
from _helpers.spaceranger import HIRES, IDS, SIZE, Made, colors, write_image, write_visium
from anndata import AnnData

from hist2st_pyg import Section, load_sections, to_data
from hist2st_pyg.image import FileImage
from hist2st_pyg.section import SectionRecord

KEPT = [0, 1, 2, 3, 5]  # features that are no antibody


def load(path: Path, **options: Any) -> Section:
    (section,) = load_sections("visium", path, **options)
    return section


@pytest.mark.parametrize("read", [scanpy.read_visium, squidpy.read.visium], ids=["scanpy", "squidpy"])
@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.filterwarnings("ignore")
def test_as_scanpy_and_squidpy_read_it(tmp_path: Path, version: int, read: Callable[[Path], AnnData]) -> None:
    write_visium(tmp_path / "A" / "outs", version=version)
    other = read(tmp_path / "A" / "outs")
    other.var_names_make_unique()
    section = load(tmp_path)
    adata = section.adata
    assert list(adata.obs_names) == list(other.obs_names)
    assert list(adata.var_names) == list(other.var_names)
    assert list(adata.var["gene_ids"]) == list(other.var["gene_ids"])
    np.testing.assert_array_equal(adata.X.toarray(), other.X.toarray())
    np.testing.assert_array_equal(section.pos, other.obsm["spatial"])
    for column in ("in_tissue", "array_row", "array_col"):
        np.testing.assert_array_equal(adata.obs[column], other.obs[column])
    scales = adata.uns["spatial"]["A"]["scalefactors"]
    assert scales == other.uns["spatial"]["lib"]["scalefactors"]
    assert section.spot_diameter == scales["spot_diameter_fullres"]


@pytest.mark.parametrize("mtx", [False, True], ids=["h5", "mtx"])
def test_a_section(tmp_path: Path, mtx: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    off = [int(i) for i in np.flatnonzero(Made().in_tissue == 0)[:2]]
    made = write_visium(tmp_path / "mouse", mtx=mtx, extra=off)
    section = load(tmp_path / "mouse")
    assert (section.name, section.patient, section.image, section.label) == ("mouse", None, None, None)
    np.testing.assert_array_equal(section.adata.X.toarray(), made.counts[made.kept][:, KEPT])
    assert section.adata.X.format == "csr"
    assert list(section.adata.obs_names) == [made.barcodes[i] for i in made.kept]
    assert list(section.adata.var_names) == ["GAPDH", "TBCE", "ACTB", "TBCE-1", "KRT5"]
    assert list(section.adata.var["gene_ids"]) == [IDS[i] for i in KEPT]
    np.testing.assert_array_equal(section.pos, made.pos[made.kept])
    np.testing.assert_array_equal(section.grid, made.places[made.kept][:, ::-1])
    assert f"mouse: dropped 2 of {len(made.kept) + 2} spots, which are not in the tissue" in caplog.text
    assert "1 genes share the symbol of another" in caplog.text


def test_resolution(tmp_path: Path) -> None:
    """From the pitch of 100 µm, not from the diameter, and the user's value wins."""
    made = write_visium(tmp_path / "A")
    section = load(tmp_path / "A")
    assert section.um_per_pixel == pytest.approx(made.um_per_pixel, rel=0.005)
    distance = np.linalg.norm(section.pos[:, None] - section.pos, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert np.median(distance.min(0)) * section.um_per_pixel == pytest.approx(100, rel=0.03)  # whole pixels
    assert load(tmp_path / "A", um_per_pixel=0.5).um_per_pixel == 0.5
    lines = [f"{made.barcodes[i]},1,0,{2 * n},9,{30 * n}" for n, i in enumerate(made.kept)]  # one row says no more
    (tmp_path / "A" / "spatial" / "tissue_positions.csv").unlink()
    (tmp_path / "A" / "spatial" / "tissue_positions_list.csv").write_text("\n".join(lines))
    assert load(tmp_path / "A").um_per_pixel is None


def test_x_is_the_column(tmp_path: Path) -> None:
    """Each spot's patch shows the color that was painted where the spot is, in the one image and in the other."""
    made = write_visium(tmp_path / "A")
    write_image(tmp_path / "he.png", made.pos, made.places, 1, 6)
    section = load(tmp_path / "A", image=tmp_path / "he.png")
    assert section.require_image().size == SIZE
    expected = colors(made.places[made.kept])
    for patches in (
        to_data(section, ["GAPDH"], patch_size=4, k=2).x,
        to_data(load(tmp_path / "A", image="hires"), ["GAPDH"], patch_size=2, k=2).x,
    ):
        np.testing.assert_array_equal(patches.float().mean((2, 3)), expected)


def test_hires(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_visium(tmp_path / "A", version=3)
    full, hires = load(tmp_path / "A"), load(tmp_path / "A", image="hires")
    assert hires.require_image().size == tuple(round(HIRES * side) for side in SIZE)
    np.testing.assert_allclose(hires.pos, HIRES * full.pos)
    np.testing.assert_array_equal(hires.grid, full.grid)
    assert full.spot_diameter is not None
    assert full.um_per_pixel is not None
    assert hires.spot_diameter == pytest.approx(HIRES * full.spot_diameter)
    assert hires.um_per_pixel == pytest.approx(full.um_per_pixel / HIRES)
    assert load(tmp_path / "A", image="hires", um_per_pixel=0.5).um_per_pixel == pytest.approx(0.5 / HIRES)
    assert "A: positions are pixels of its hires image, 0.25 of full resolution" in caplog.text
    scales = hires.adata.uns["spatial"]["A"]["scalefactors"]
    expected = {"tissue_hires_scalef": 1.0, "tissue_lowres_scalef": 0.4, "regist_target_img_scalef": 2.0}
    expected |= {"spot_diameter_fullres": 5.2, "fiducial_diameter_fullres": 8.4}
    assert scales == pytest.approx(expected)
    (tmp_path / "A" / "spatial" / "tissue_hires_image.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"'A': image: There is no image file .*tissue_hires_image\.png"):
        load(tmp_path / "A", image="hires")


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outs folder, what is around it, and a folder of both; other folders and files beside them do not matter."""
    write_visium(tmp_path / "all" / "b" / "outs")
    write_visium(tmp_path / "all" / "a", Made(1), version=1)
    (tmp_path / "all" / "notes").mkdir()
    (tmp_path / "all" / "readme.txt").write_text("")
    assert [s.name for s in load_sections("visium", tmp_path / "all")] == ["a", "b"]
    assert [s.name for s in load_sections("visium", tmp_path / "all", ["b", "a"])] == ["b", "a"]
    for path, name in (("b", "b"), ("b/outs", "b"), ("a", "a")):
        assert load(tmp_path / "all" / path).name == name
    monkeypatch.chdir(tmp_path / "all" / "b" / "outs")
    assert load(Path()).name == "b"
    with pytest.raises(ValueError, match=r"Data set 'visium' in .*all has no section 'c'\. Available: a, b"):
        load_sections("visium", tmp_path / "all", ["c"])


def test_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_visium(tmp_path / "data" / name)
    for name in ("a.png", "b.ome.tif", "other.png"):
        write_image(tmp_path / "images" / name, np.empty((0, 2)), np.empty((0, 2), dtype=int), 1, 1)

    def images(given: Any) -> list[str]:
        sections = load_sections("visium", tmp_path / "data", image=given)
        return [s.image.path.name for s in sections if isinstance(s.image, FileImage)]

    assert images(tmp_path / "images") == ["a.png", "b.ome.tif"]
    assert images({"b": str(tmp_path / "images" / "a.png"), "a": tmp_path / "images" / "other.png"}) == [
        "other.png",
        "a.png",
    ]
    assert images("hires") == ["tissue_hires_image.png"] * 2
    with pytest.raises(ValueError, match=r"image='he\.png' is for a single section, got 2 sections: a, b\. Give a map"):
        images("he.png")
    with pytest.raises(ValueError, match="image has no entry for section 'b'"):
        images({"a": tmp_path / "images" / "a.png"})
    shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"image: .* has 2 files for section 'a' \(a\.jpg, a\.png\); keep one"):
        images(tmp_path / "images")
    for name in ("a.jpg", "a.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"image: .*images has no file for section 'a' \(a with \.jpg, \.jpeg"):
        images(tmp_path / "images")
    with pytest.raises(FileNotFoundError, match=r"Section 'a': image: There is no image file he\.png"):
        load_sections("visium", tmp_path / "data", ["a"], image="he.png")


def test_patients(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_visium(tmp_path / name)
    declared = load_sections("visium", tmp_path, patients="each_section")
    assert [s.record for s in declared] == [SectionRecord(name, name, "each_section") for name in ("a", "b")]
    given = {"a": "P", "b": "P"}
    assert [s.patient for s in load_sections("visium", tmp_path, patients=given)] == ["P", "P"]
    with pytest.raises(ValueError, match="patients has no entry for section 'b'"):
        load_sections("visium", tmp_path, patients={"a": "P"})


def test_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = write_visium(tmp_path / "A")
    path = tmp_path / "A.csv"
    order = [made.barcodes[i] for i in made.kept]

    def labels(text: str, **options: Any) -> list[str]:
        path.write_text(text)
        label = load(tmp_path / "A", labels=path, **options).label
        assert label is not None
        return list(label)

    # Loupe Browser's export: a spot of which it says nothing is not labeled, one that has no counts does not matter.
    rows = [f"{name},{'tumor' if n % 2 else 'stroma'}" for n, name in enumerate(order[:-2])]
    text = "\n".join(["Barcode,Region", *reversed(rows), f"{order[-2]},", "ZZZ-1,fat"])
    expected = [row.split(",")[1] for row in rows] + ["undetermined"] * 2
    assert labels(text) == expected
    assert f"{path}: 2 of {len(order)} spots have no label" in caplog.text
    assert labels(text, label_key="Region") == expected
    assert labels(f"Barcode,Graph,Region\n{order[0]},7,fat\n", label_key="Graph")[:2] == ["7", "undetermined"]
    with pytest.raises(ValueError, match=r"A\.csv has 2 columns beside the spot \('Graph', 'Region'\); name one"):
        labels(f"Barcode,Graph,Region\n{order[0]},7,fat\n")
    with pytest.raises(ValueError, match=r"A\.csv has no column 'K' for the labels; its columns: 'Region'"):
        labels(text, label_key="K")
    with pytest.raises(ValueError, match=rf"A\.csv: spot '{order[0]}' occurs more than once"):
        labels(f"Barcode,Region\n{order[0]},fat\n{order[0]},fat\n")
    with pytest.raises(ValueError, match=rf"A\.csv shares no labeled spot .* the section '{order[0]}', \.\.\.; check"):
        labels("Barcode,Region\nZZZ-1,fat\n")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*absent\.csv"):
        load(tmp_path / "A", labels=tmp_path / "absent.csv")
    # By array place, as her2st's, and the column called label among several.
    places = "".join(f"{made.places[i, 1]}.1\t{made.places[i, 0]}\tfat\n" for i in made.kept)
    assert set(labels(f"x\ty\tlabel\n{places}NA\tNA\tskin\n")) == {"fat"}
    assert labels(f"Barcode,Graph,label\n{order[0]},7,fat\n")[:2] == ["fat", "undetermined"]
    path.write_text(text)
    label = load(tmp_path / "A", labels=tmp_path).label  # a folder of <section>.csv
    assert label is not None
    assert list(label) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "filtered_feature_bc_matrix.h5",
            "A has no counts: there is neither filtered_feature_bc_matrix.h5 nor a folder",
        ),
        (
            "spatial/tissue_positions.csv",
            "A has no positions: there is neither spatial/tissue_positions.csv nor spatial/tissue_positions_list.csv",
        ),
        ("spatial/scalefactors_json.json", "A has no scale factors: there is no spatial/scalefactors_json.json"),
    ],
)
def test_missing_parts(tmp_path: Path, name: str, message: str) -> None:
    write_visium(tmp_path / "A")
    (tmp_path / "A" / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load(tmp_path / "A")


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*absent"):
        load(tmp_path / "absent")
    with pytest.raises(
        FileNotFoundError, match=r"is not an output of Space Ranger and holds none: .* Give the outs folder"
    ):
        load(tmp_path)
    (tmp_path / "hd" / "binned_outputs").mkdir(parents=True)
    with pytest.raises(
        ValueError, match=r"hd is of Visium HD \(binned_outputs\); read it with the data set 'visium_hd'"
    ):
        load(tmp_path / "hd")


@pytest.mark.parametrize("version", [1, 2])
def test_positions_and_labels_that_a_spreadsheet_saved(tmp_path: Path, version: int) -> None:
    """It puts a byte-order mark before the first column's name, or the first barcode."""
    made = write_visium(tmp_path / "A", version=version)
    (path,) = (tmp_path / "A" / "spatial").glob("tissue_positions*.csv")
    expected = load(tmp_path / "A")
    labels = tmp_path / "labels.csv"
    labels.write_text("Barcode,region\n" + "".join(f"{made.barcodes[i]},tumor\n" for i in made.kept))
    for file in (path, labels):
        file.write_text(file.read_text(), encoding="utf-8-sig")
    section = load(tmp_path / "A", labels=labels)
    np.testing.assert_array_equal(section.pos, expected.pos)
    assert list(section.adata.obs_names) == list(expected.adata.obs_names)
    assert section.label is not None
    assert set(section.label) == {"tumor"}


def test_wrong_positions(tmp_path: Path) -> None:
    made = write_visium(tmp_path / "A")
    path = tmp_path / "A" / "spatial" / "tissue_positions.csv"
    header, *lines = path.read_text().splitlines()
    kept = made.barcodes[made.kept[0]]
    first = made.barcodes.index(kept)

    def load_text(*rows: str) -> Section:
        path.write_text("\n".join(rows) + "\n")
        return load(tmp_path / "A")

    with pytest.raises(
        ValueError, match=rf"tissue_positions\.csv lacks 1 of the {len(made.kept)} barcodes .*'{kept}'; check that"
    ):
        load_text(header, *lines[:first], *lines[first + 1 :])
    with pytest.raises(ValueError, match=rf"tissue_positions\.csv: the barcode '{kept}' occurs more than once"):
        load_text(header, *lines, lines[first])
    with pytest.raises(ValueError, match=r"none of the .* spots with counts is in the tissue"):
        load_text(header, *(line.replace("-1,1,", "-1,0,") for line in lines))
    with pytest.raises(ValueError, match=r"tissue_positions\.csv, line 2: array_row must be a number, got 'x'"):
        load_text(header, "B-1,1,x,1,2,3", *lines)
    with pytest.raises(ValueError, match=r"tissue_positions\.csv, line 1: array_row must be a number, got 'x'"):
        load_text("B-1,1,x,1,2,3", *lines)
    with pytest.raises(
        ValueError, match=r"tissue_positions\.csv lacks the columns pxl_col_in_fullres; it has barcode, in_"
    ):
        load_text(header.replace("pxl_col", "col"), *lines)
    with pytest.raises(ValueError, match=r"positions\.csv, line 2: array_row must be an integer from 0, got 1\.5"):
        load_text(header, "B-1,1,1.5,1,2,3", *lines)
    with pytest.raises(ValueError, match=r"tissue_positions\.csv is empty"):
        load_text("")


def test_wrong_scale_factors(tmp_path: Path) -> None:
    write_visium(tmp_path / "A")
    path = tmp_path / "A" / "spatial" / "scalefactors_json.json"
    scales = json.loads(path.read_text())
    path.write_text(json.dumps({**scales, "spot_diameter_fullres": 0}))
    with pytest.raises(ValueError, match=r"factors_json\.json: spot_diameter_fullres must be a positive number, got 0"):
        load(tmp_path / "A")
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"scalefactors_json\.json must hold a JSON object, got list"):
        load(tmp_path / "A")
    path.write_text("{")
    with pytest.raises(ValueError, match=r"scalefactors_json\.json is not JSON"):
        load(tmp_path / "A")
