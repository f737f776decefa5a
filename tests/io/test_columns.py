"""Values of a table's columns, of whatever type they were written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hist2st_pyg.io.columns import flags, number_of


@pytest.mark.parametrize("values", [[1, 0], [1.0, 0.0], [True, False], ["TRUE", "FALSE"], ["1", "0"], ["T", "F"]])
def test_flags_of_any_type(values: list[Any]) -> None:
    for dtype in (object, "category"):
        assert flags(pd.Series(values, dtype=dtype), str).tolist() == [True, False]


@pytest.mark.parametrize("wrong", [2, -1, 0.5, np.nan, None, "", "maybe", "nan"])
def test_what_is_no_flag_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^row 1: in_tissue must be 0 or 1, got"):
        flags(pd.Series([1, wrong], name="in_tissue", dtype=object), lambda row: f"row {row}")


def test_numbers_of_any_type() -> None:
    assert [number_of(value) for value in ("1.5", b"2", 3, np.float32(4), " 5 ", ".5", "1e3")] == [
        1.5, 2, 3, 4, 5, 0.5, 1000,
    ]  # fmt: skip
    assert all(np.isnan(number_of(value)) for value in ("", "nan", "inf", "1,5", "1_0", "0x1", None, "a", [1, 2]))
