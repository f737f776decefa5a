"""Tables as R, spreadsheets, pandas and pyarrow write them again read as the original."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hist2st_pyg.io.spaceranger import POSITIONS, check_positions
from hist2st_pyg.io.spots import read_spots
from hist2st_pyg.io.tables import read_table
from hist2st_pyg.utils import reading

TABLE = pd.DataFrame(
    [("AAA-1", 1, 2, 10, 700.5, 300.0), ("BBB-1", 0, 2, 12, 700.0, 350.0), ("CCC-1", 1, 3, 11, 740.0, 325.0)],
    columns=list(POSITIONS),
)


def semicolons(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, sep=";")


def of_r_table(table: pd.DataFrame, path: Path) -> None:
    """R's write.table: row names, and no name for them in the header."""
    lines = table.assign(n=range(1, len(table) + 1)).set_index("n").to_csv(index=True, sep="\t").splitlines()
    path.write_text("\n".join([lines[0].removeprefix("n\t"), *lines[1:]]))


def barcodes_as_row_names(table: pd.DataFrame, path: Path) -> None:
    """R's write.csv of a data frame whose row names are the barcodes."""
    table.set_index("barcode").rename_axis("").to_csv(path, quoting=2)


WRITERS: dict[str, Any] = {
    "pandas.csv": lambda table, path: table.to_csv(path, index=False),
    "quoted.csv": lambda table, path: table.to_csv(path, index=False, quoting=1),
    "row_names.csv": lambda table, path: table.to_csv(path),
    "bom.csv": lambda table, path: table.to_csv(path, index=False, encoding="utf-8-sig"),
    "crlf.csv": lambda table, path: table.to_csv(path, index=False, lineterminator="\r\n"),
    "semicolons.csv": semicolons,
    "tabs.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "other_order.csv": lambda table, path: table[list(reversed(POSITIONS))].to_csv(path, index=False),
    "headerless.csv": lambda table, path: table.to_csv(path, index=False, header=False),
    "r_table.tsv": of_r_table,
    "r_row_names.csv": barcodes_as_row_names,
    "packed.csv.gz": lambda table, path: path.write_bytes(gzip.compress(table.to_csv(index=False).encode())),
    "bool.csv": lambda table, path: table.astype({"in_tissue": bool}).to_csv(path, index=False),
    "r_bool.csv": lambda table, path: table.assign(in_tissue=["TRUE", "FALSE", "TRUE"]).to_csv(path, index=False),
    "float.csv": lambda table, path: table.astype({"in_tissue": float, "array_row": float}).to_csv(path, index=False),
    "column.parquet": lambda table, path: table.to_parquet(path),
    "index.parquet": lambda table, path: table.set_index("barcode").to_parquet(path),
    "unnamed.parquet": lambda table, path: table.set_index("barcode").rename_axis(None).to_parquet(path),
    "bool.parquet": lambda table, path: table.astype({"in_tissue": bool}).to_parquet(path),
    "bytes.parquet": lambda table, path: table.assign(barcode=[b.encode() for b in table.barcode]).to_parquet(path),
    "category.parquet": lambda table, path: table.astype({"in_tissue": "category", "barcode": "category"}).to_parquet(
        path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_positions_read_as_the_original_whoever_wrote_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](TABLE, path)
    spots = read_spots(path)
    assert spots.names == ["AAA-1", "CCC-1"]
    np.testing.assert_array_equal(spots.pos, [[300, 700.5], [325, 740]])
    np.testing.assert_array_equal(spots.grid, [[10, 2], [11, 3]])
    positions = check_positions(read_table(path, headerless=POSITIONS), path)
    assert positions["barcode"].tolist() == TABLE["barcode"].tolist()
    assert positions["in_tissue"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nan", "line 3: pxl_row_in_fullres must be a number, got 'nan'"),
        ("inf", "line 3: pxl_row_in_fullres must be a number, got 'inf'"),
        ("1_000", "line 3: pxl_row_in_fullres must be a number, got '1_000'"),
        ("1e308", r"line 3: pxl_row_in_fullres must be a number of at most 1e\+09, got '1e308'"),
        ('"1,000.5"', "line 3: pxl_row_in_fullres must be a number, got '1,000.5'; write decimals with a point"),
        ('"700,5"', "line 3: pxl_row_in_fullres must be a number, got '700,5'; write decimals with a point"),
    ],
)
def test_a_text_that_is_no_number_is_named(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "spots.csv"
    path.write_text(TABLE.to_csv(index=False).replace("700.0", value))
    with pytest.raises(ValueError, match=rf"spots\.csv, {message}"):
        read_spots(path)


def test_a_header_that_lacks_a_column_does_not_shift_the_others(tmp_path: Path) -> None:
    path = tmp_path / "spots.tsv"
    path.write_text("x\ty\tpixel_x\n10\t13\t700\t5\n11\t13\t800\t6\n")
    with pytest.raises(ValueError, match=r"spots\.tsv, line 2 has 4 fields, the first line has 3"):
        read_spots(path)


def test_a_column_that_is_there_twice_is_refused_unless_both_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,x,y\n1,1,3\n2,2,4\n")
    assert read_table(path).to_dict("list") == {"x": ["1", "2"], "y": ["3", "4"]}
    path.write_text("x,x,y\n1,1,3\n2,5,4\n")
    with pytest.raises(ValueError, match=r"t\.csv has the column 'x' more than once, with different values"):
        read_table(path)


def test_a_spot_without_barcode_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(POSITIONS) + "\nA-1,1,0,0,9,9\n,1,0,2,9,20\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 3: the spot has no barcode"):
        read_spots(path)


def test_a_field_that_is_too_long_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "spots.csv").write_text("x,y\n" + "1" * 200_000 + ",2\n")
    with pytest.raises(ValueError, match=r"spots\.csv is damaged or not a table: field larger than field limit"):
        read_table(tmp_path / "spots.csv")


def test_a_packed_table_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spots.csv.gz").write_bytes(gzip.compress(bytes(2**22)))
    monkeypatch.setattr(reading, "UNPACKED_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"spots\.csv\.gz has .* bytes and unpacks to"):
        read_table(tmp_path / "spots.csv.gz")
