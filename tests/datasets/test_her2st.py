from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from _helpers.her2st_files import COUNTS, LABELS, SPOTS, write_section
from scipy.sparse import issparse

from hist2st_pyg.datasets import load_sections, paper_panel
from hist2st_pyg.datasets.her2st import PAPER_SECTIONS


def test_the_paper_s_sections_are_the_second_to_the_33rd_by_name() -> None:
    sections = {"A": 6, "B": 6, "C": 6, "D": 6, "E": 3, "F": 3, "G": 3, "H": 3}
    every = sorted(f"{patient}{i + 1}" for patient, count in sections.items() for i in range(count))
    assert len(every) == 36
    assert list(PAPER_SECTIONS) == every[1:33]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_section(tmp_path / "clone")


def test_section(root: Path) -> None:
    (section,) = load_sections("her2st", root)
    assert (section.name, section.patient) == ("A1", "A")
    assert issparse(section.adata.X)
    assert list(section.adata.obs_names) == ["10x13", "11x13", "10x14", "12x14"]
    assert list(section.adata.var_names) == ["GENE1", "GENE2", "NA"]
    np.testing.assert_array_equal(section.adata.X.toarray(), [[0, 3, 1], [2, 0, 0], [5, 1, 0], [1, 1, 7]])
    np.testing.assert_array_equal(section.grid, [[10, 13], [11, 13], [10, 14], [12, 14]])
    np.testing.assert_array_equal(section.pos, [[3700, 3900], [4000, 3901], [3701, 4200], [4300.5, 4200.25]])
    assert section.label is not None
    assert list(section.label) == ["invasive cancer", "connective tissue", "undetermined", "undetermined"]
    assert section.require_image().size == (50, 40)
    # One step is 300 px (10x13 to 11x13 and to 10x14) and 200 µm; a spot is 100 µm.
    assert section.um_per_pixel == pytest.approx(200 / 300, rel=1e-5)
    assert section.spot_diameter == pytest.approx(150, rel=1e-5)


def test_data_folder_and_gzip_are_the_same(root: Path, tmp_path: Path) -> None:
    (plain,) = load_sections("her2st", root / "data")
    packed = tmp_path / "packed"
    shutil.copytree(root, packed)
    (packed / "data" / "ST-cnts" / "A1.tsv").unlink()
    with gzip.open(packed / "data" / "ST-cnts" / "A1.tsv.gz", "wt") as file:
        file.write(COUNTS)
    (unpacked,) = load_sections("her2st", packed)
    np.testing.assert_array_equal(unpacked.adata.X.toarray(), plain.adata.X.toarray())
    assert unpacked.adata.obs.equals(plain.adata.obs)
    np.testing.assert_array_equal(unpacked.pos, plain.pos)
    shutil.copy(root / "data" / "ST-cnts" / "A1.tsv", packed / "data" / "ST-cnts")
    with pytest.raises(ValueError, match=r"A1\.tsv and .*A1\.tsv\.gz are one section"):
        load_sections("her2st", packed)


def test_section_can_be_written(root: Path, tmp_path: Path) -> None:
    import anndata

    (section,) = load_sections("her2st", root)
    section.adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.X.toarray(), section.adata.X.toarray())


def test_missing_image_and_labels(root: Path) -> None:
    (root / "data" / "ST-imgs" / "A" / "A1" / "HE.jpg").unlink()
    (root / "data" / "ST-pat" / "lbl" / "A1_labeled_coordinates.tsv").unlink()
    (section,) = load_sections("her2st", root)
    assert section.image is None
    assert section.label is None
    shutil.rmtree(root / "data" / "ST-imgs")
    assert load_sections("her2st", root)[0].image is None


def test_two_images(root: Path) -> None:
    folder = root / "data" / "ST-imgs" / "A" / "A1"
    shutil.copy(folder / "HE.jpg", folder / "HE2.jpg")
    with pytest.raises(ValueError, match=r"A1 holds 2 images \(HE\.jpg, HE2\.jpg\)"):
        load_sections("her2st", root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("GENE2", "GENE1", "gene 'GENE1' occurs more than once"),
        ("GENE2", "", "a gene has no name"),
        ("\tGENE1", "GENE1", "the header has 3 fields, the first spot 4"),
        ("11x13", "10x13", "spot '10x13' occurs more than once"),
        ("11x13", "11.0x13.1", r"a spot's name must be COLxROW, such as 10x13, got '11\.0x13\.1'"),
        ("\t5\t", "\tmany\t", "spot 10x14, gene GENE1: a count must be a whole number from 0, got 'many'"),
        ("\t5\t", "\t-5\t", "spot 10x14, gene GENE1: a count must be a whole number from 0, got '-5'"),
        ("\t5\t", "\t5.5\t", r"spot 10x14, gene GENE1: a count must be a whole number from 0, got '5\.5'"),
        ("1\t1\t7\n", "1\t1", "spot 12x14, gene NA: a count must be a whole number from 0, got ''"),
        ("1\t1\t7\n", "1\t1\t\n", "spot 12x14, gene NA: a count must be a whole number from 0, got ''"),
        ("1\t1\t7\n", "1\t1\t7\t8\n", "is damaged or not a table of counts: .*Expected 4 fields in line 5, saw 5"),
        (COUNTS, "", "is damaged or not a table of counts"),
    ],
)
def test_malformed_counts(root: Path, old: str, new: str, message: str) -> None:
    (root / "data" / "ST-cnts" / "A1.tsv").write_text(COUNTS.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"(?s)ST-cnts.A1\.tsv.*{message}"):
        load_sections("her2st", root)


@pytest.mark.parametrize("damage", ["truncated", "not gzip"])
def test_damaged_gzip(root: Path, damage: str) -> None:
    path = root / "data" / "ST-cnts" / "A1.tsv"
    packed = path.with_name("A1.tsv.gz")
    rows = "".join(f"{column}x1\t1\t{column * 7919 % 101}\t3\n" for column in range(5000))
    whole = gzip.compress((COUNTS + rows).encode())
    packed.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"no gzip at all")
    path.unlink()
    with pytest.raises(ValueError, match=r"A1\.tsv\.gz is damaged or not a gzip file"):
        load_sections("her2st", root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pixel_x", "pixel", "lacks the columns pixel_x; it has x, y, new_x"),
        ("4000.0", "left", "line 4: pixel_x must be a number, got 'left'"),
        ("4000.0", "", "line 4: pixel_x must be a number, got ''"),
        ("11\t13", "10\t13", "array place 10x13 occurs more than once"),
        ("11\t13", "-11\t13", "array place -11x13 is negative"),
        ("\tselected", "", "line 2 has 7 fields, the first line has 6"),
    ],
)
def test_malformed_spots(root: Path, old: str, new: str, message: str) -> None:
    (root / "data" / "ST-spotfiles" / "A1_selection.tsv").write_text(SPOTS.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"A1_selection\.tsv.*{message}"):
        load_sections("her2st", root)


def test_malformed_labels(root: Path) -> None:
    path = root / "data" / "ST-pat" / "lbl" / "A1_labeled_coordinates.tsv"
    path.write_text(LABELS.replace("10.9\t12.8", "10.1\t13.2"))
    with pytest.raises(ValueError, match=r"A1_labeled_coordinates\.tsv: array place 10x13 occurs more than once"):
        load_sections("her2st", root)


def test_wrong_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not the her2st data set: .*clone"):
        load_sections("her2st", tmp_path)
    with pytest.raises(ValueError, match=r"her2st in .* has no section 'C7'\. Available: A1"):
        load_sections("her2st", root, ["C7"])


def test_paper_panel(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no paper_gene_panel_her2st\.txt .*one gene per line.*'variable'"):
        paper_panel("her2st", root)
    panel = root / "paper_gene_panel_her2st.txt"
    panel.write_text("GENE2\nGENE1\n")
    assert paper_panel("her2st", root) == paper_panel("her2st", root / "data") == ["GENE2", "GENE1"]
    panel.write_text("GENE2\nGENE1\nGENE2\n")
    with pytest.raises(ValueError, match=r"panel_her2st\.txt: gene 'GENE2' is in the panel twice"):
        paper_panel("her2st", root)
    panel.write_text("\n")
    with pytest.raises(ValueError, match=r"panel_her2st\.txt: the gene panel is empty"):
        paper_panel("her2st", root)


def test_real_sections(real_data: Path) -> None:
    root = real_data / "her2st"
    c1, c2, c3 = load_sections("her2st", root, ["C1", "C2", "C3"])
    assert [section.patient for section in (c1, c2, c3)] == ["C"] * 3
    assert [len(section) for section in (c1, c2, c3)] == [176, 187, 180]
    assert c1.image is None
    assert c1.label is not None
    assert set(c1.label) == {"connective tissue", "invasive cancer", "undetermined", "adipose tissue"}
    assert c2.label is None
    for section in (c2, c3):
        width, height = section.require_image().size
        assert (section.pos > 0).all()
        assert (section.pos < [width, height]).all()
        assert section.um_per_pixel == pytest.approx(0.69, abs=0.01)
        assert section.spot_diameter == pytest.approx(145, abs=1)

    # Read by hand: one spot's line in each file.
    lines = (root / "data" / "ST-spotfiles" / "C2_selection.tsv").read_text().splitlines()
    x, y, _, _, pixel_x, pixel_y, _ = lines[100].split("\t")
    spot = list(c2.adata.obs_names).index(f"{x}x{y}")
    assert c2.grid[spot].tolist() == [int(x), int(y)]
    assert c2.pos[spot].tolist() == [float(pixel_x), float(pixel_y)]
    with gzip.open(root / "data" / "ST-cnts" / "C2.tsv.gz", "rt") as file:
        header, *rows = (line.rstrip("\n").split("\t") for line in file)
    (row,) = [row for row in rows if row[0] == f"{x}x{y}"]
    assert list(c2.adata.var_names) == header[1:]
    np.testing.assert_array_equal(c2.adata.X[spot].toarray().ravel(), np.array(row[1:], dtype=float))


def test_real_panel(real_data: Path) -> None:
    panel = paper_panel("her2st", real_data / "her2st")
    assert len(panel) == len(set(panel)) == 785
