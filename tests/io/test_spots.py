from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hist2st_pyg import Section
from hist2st_pyg.io.spots import Spots, read_spots

VISIUM_HEADER = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"
VISIUM_ROWS = "AAA-1,1,2,10,700.5,300\nBBB-1,0,2,12,700,350\nCCC-1,1,3,11,740,325\n"
HER2ST = (
    "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n"
    "25\t13\t25.1\t12.9\t6500.5\t3400.25\t1\n"
    "9\t13\t9.0\t13.0\t2307.86\t3500.48\t0\n"
    "8\t14\t8.0\t14.0\t1989.71\t3806.03\t1\n"
)


def write(folder: Path, text: str, name: str = "spots.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_her2st_selection(tmp_path: Path) -> None:
    spots = read_spots(write(tmp_path, HER2ST, "B4_selection.tsv"))
    assert spots.names == ["25x13", "8x14"]
    np.testing.assert_array_equal(spots.pos, [[6500.5, 3400.25], [1989.71, 3806.03]])
    np.testing.assert_array_equal(spots.grid, [[25, 13], [8, 14]])


def test_her2st_without_a_column_selected_keeps_all(tmp_path: Path) -> None:
    lines = [line.rsplit("\t", 1)[0] for line in HER2ST.splitlines()]
    assert len(read_spots(write(tmp_path, "\n".join(lines), "B4.tsv"))) == 3


@pytest.mark.parametrize("header", [VISIUM_HEADER, ""])
def test_visium_columns_are_x_and_rows_are_y(tmp_path: Path, header: str) -> None:
    spots = read_spots(write(tmp_path, header + VISIUM_ROWS, "tissue_positions_list.csv"))
    assert spots.names == ["AAA-1", "CCC-1"]  # BBB-1 is off the tissue
    # The file has row (y) before column (x).
    np.testing.assert_array_equal(spots.pos, [[300, 700.5], [325, 740]])
    np.testing.assert_array_equal(spots.grid, [[10, 2], [11, 3]])


def test_visium_columns_are_found_by_name(tmp_path: Path) -> None:
    text = "pxl_col_in_fullres,barcode,array_col,in_tissue,pxl_row_in_fullres,array_row\n300,AAA-1,10,1,700,2\n"
    spots = read_spots(write(tmp_path, text))
    np.testing.assert_array_equal(spots.pos, [[300, 700]])
    np.testing.assert_array_equal(spots.grid, [[10, 2]])


def test_generic_csv_derives_its_array_from_the_positions(tmp_path: Path) -> None:
    text = "x,y\n" + "".join(f"{1000 + 100 * c},{500 + 100 * r}\n" for r in range(3) for c in range(4))
    spots = read_spots(write(tmp_path, text))
    assert spots.names[:2] == ["spot_0", "spot_1"]
    np.testing.assert_array_equal(spots.pos[5], [1100, 600])
    np.testing.assert_array_equal(spots.grid, [[c, r] for r in range(3) for c in range(4)])


def test_generic_csv_with_names_and_array(tmp_path: Path) -> None:
    text = "\ufeffname,x,y,array_col,array_row,note\n a ,1.5,2.5,7,8,-\n\nb,3,4,9,10,-\n"
    spots = read_spots(write(tmp_path, text))
    assert spots.names == ["a", "b"]
    np.testing.assert_array_equal(spots.pos, [[1.5, 2.5], [3, 4]])
    np.testing.assert_array_equal(spots.grid, [[7, 8], [9, 10]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("x,y\n", "has a header but no spots"),
        ("a;b\n1;2\n", r"(?s)spots.csv is not a spot file: its columns are 'a', 'b'.*her2st.*Visium.*CSV"),
        ("x,y\n1,2\n3\n", "line 3 has 1 fields, the first line has 2"),
        ("x,y\n1,2\n3,left\n", "line 3: y must be a number, got 'left'"),
        ("x,y\n1,nan\n", "line 2: y must be a number, got 'nan'"),
        ("x,y,array_col\n1,2,3\n", "has array_col alone"),
        ("x,y,array_col,array_row\n1,2,3,-1\n", "line 2: array_row must be an integer from 0, got -1"),
        ("x,y,array_col,array_row\n1,2,3.5,1\n", "line 2: array_col must be an integer from 0, got 3.5"),
        ("name,x,y\na,1,2\na,3,4\n", "spots.csv: Spots: names must be unique, got 'a' more than once"),
        ("name,x,y\na,1,2\nb,3,4\nc,1,2.0\n", "spots.csv: spots share a position: 'a' and 'c' at 1, 2. Keep one"),
        ("x,y,array_col,array_row\n" + "1,2,0,0\n" * 6, "'spot_0' and 'spot_3' at 1, 2 and 2 more pairs"),
        (VISIUM_HEADER + VISIUM_ROWS.replace("BBB-1,0", "BBB-1,2"), "line 3: in_tissue must be 0 or 1, got '2'"),
        (VISIUM_HEADER + "AAA-1,0,2,10,700,300\n", "no spot left: in_tissue is 0 in all 1 rows"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_spots(write(tmp_path, text))


def test_a_file_without_selected_spots_is_refused(tmp_path: Path) -> None:
    text = "x\ty\tpixel_x\tpixel_y\tselected\n1\t2\t10\t20\t0\n3\t4\t30\t40\t0\n"
    with pytest.raises(ValueError, match="no spot left: selected is 0 in all 2 rows"):
        read_spots(write(tmp_path, text, "x.tsv"))


def test_a_missing_or_binary_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no spot file .*nothing\.csv"):
        read_spots(tmp_path / "nothing.csv")
    for name, message in (
        ("positions.dat", "is not a text file"),
        ("positions.parquet", "is damaged or not a parquet table"),
        ("positions.h5ad", "is damaged or not an AnnData file"),
    ):
        (tmp_path / name).write_bytes(b"PAR1\xff\xfe\x00")
        with pytest.raises(ValueError, match=f"{name} {message}"):
            read_spots(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no spot file .*nothing\.parquet"):
        read_spots(tmp_path / "nothing.parquet")


def test_parquet_reads_as_the_csv(tmp_path: Path) -> None:
    expected = read_spots(write(tmp_path, VISIUM_HEADER + VISIUM_ROWS))
    pd.read_csv(tmp_path / "spots.csv").to_parquet(tmp_path / "tissue_positions.parquet")
    spots = read_spots(tmp_path / "tissue_positions.parquet")
    assert spots.names == expected.names
    np.testing.assert_array_equal(spots.pos, expected.pos)
    np.testing.assert_array_equal(spots.grid, expected.grid)
    pd.DataFrame({"x": [], "y": []}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match=r"none\.parquet has no spots"):
        read_spots(tmp_path / "none.parquet")


def test_the_spots_of_an_annotated_section(tmp_path: Path, cohort: list[Section]) -> None:
    section, path = cohort[0], tmp_path / "section.h5ad"
    section.adata.write_h5ad(path)
    spots = read_spots(path)
    assert spots.names == list(section.adata.obs_names)
    np.testing.assert_array_equal(spots.pos, section.pos)
    np.testing.assert_array_equal(spots.grid, section.grid)
    changed = section.adata.copy()
    del changed.obs["array_col"], changed.obs["array_row"]
    changed.write_h5ad(path)
    assert len(read_spots(path)) == len(section)  # places derived from positions
    changed.obsm["spatial"] = np.full((len(section), 2), np.nan)
    changed.obs["array_col"] = changed.obs["array_row"] = 1
    changed.write_h5ad(path)
    with pytest.raises(ValueError, match=r"section\.h5ad: obsm\['spatial'\] must hold finite numbers.*'1x1'"):
        read_spots(path)
    del changed.obsm["spatial"]
    changed.write_h5ad(path)
    with pytest.raises(ValueError, match=r"section\.h5ad has no obsm\['spatial'\]"):
        read_spots(path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"names": []}, ValueError, "at least one spot is required"),
        ({"pos": np.zeros((2, 3))}, ValueError, r"pos must be \[N, 2\] for 2 names, got shape \[2, 3\]"),
        ({"grid": np.zeros((3, 2), dtype=int)}, ValueError, r"grid must be \[N, 2\] for 2 names, got shape \[3, 2\]"),
        ({"grid": np.zeros((2, 2))}, TypeError, "grid must hold integers .* got float64"),
        ({"grid": np.array([[0, 0], [0, -1]])}, ValueError, r"grid must be 0 or more, got .*\[0, -1\] for spot 'b'"),
        ({"pos": np.array([[np.inf, 0], [0, 1]])}, ValueError, "pos must be finite, got .* for spot 'a'"),
        ({"names": ["a", "a"]}, ValueError, "names must be unique, got 'a'"),
    ],
)
def test_spots_are_checked(change: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"names": ["a", "b"], "pos": np.eye(2), "grid": np.eye(2, dtype=int)}
    assert len(Spots(**good)) == 2
    with pytest.raises(error, match=message):
        Spots(**(good | change))


def test_every_real_selection_is_read_as_it_is(real_data: Path) -> None:
    files = sorted((real_data / "her2st/data/ST-spotfiles").glob("*_selection.tsv"))
    assert files
    for path in files:
        with path.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file, delimiter="\t") if row["selected"] == "1"]
        spots = read_spots(path)
        assert spots.names == [f"{row['x']}x{row['y']}" for row in rows]
        np.testing.assert_array_equal(spots.pos, [[float(row["pixel_x"]), float(row["pixel_y"])] for row in rows])
