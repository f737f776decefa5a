from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from hist2st_pyg.utils.csv_cells import quoted_name, unquoted_name, write_csv

FORMULAS = ["=cmd|'/C calc'!A0", "+1+1", "-1", "@SUM(1)", "\tx", "\rx", "'=1", "''+1"]
NAMES = ["A1", "10x13", "'x", "", "HLA-A", "a=b", "'"]


@pytest.mark.parametrize("name", [*FORMULAS, *NAMES])
def test_a_name_comes_back_as_it_was(name: str) -> None:
    quoted = quoted_name(name)
    assert (quoted == name) == (name in NAMES)
    assert quoted[:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert unquoted_name(quoted) == name


def test_names_are_quoted_and_numbers_are_not_touched(tmp_path: Path) -> None:
    table = pd.DataFrame({"=a": [-1.5, 2.0], "region": pd.Categorical(["-1", "b"])}, index=["@s", "t\nu"])
    write_csv(table, tmp_path / "a.csv", index_label="spot")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["spot", "'=a", "region"], ["'@s", "-1.5", "'-1"], ["t\nu", "2.0", "b"]]


def test_rows_without_a_heading_have_no_names(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"a": [1, 2]}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "a\n1\n2\n"
    write_csv(pd.DataFrame({"a": [1, 2]}).rename_axis("gene"), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "gene,a\n0,1\n1,2\n"
