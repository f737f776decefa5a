"""Check columns of numbers and flags, with errors that name the file, the line and the value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

LARGEST_NUMBER = 1e9
"""Bound of the numbers of a table: positions in pixels, places and counts are smaller."""

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

FLAGS = {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}
"""Spellings of true and false by pandas, R and spreadsheets."""


def numbers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the table with finite numbers in these columns; the error names the file, line and value."""
    from pandas.api.types import is_numeric_dtype

    parsed = {}
    for column in columns:
        plain = is_numeric_dtype(table[column])
        values = table[column] if plain else table[column].astype(object).map(number_of).astype(np.float64)
        wrong = ~(np.abs(values.to_numpy(dtype=np.float64, na_value=np.nan)) <= LARGEST_NUMBER)
        if wrong.any():
            value = str(table[column].iloc[wrong.argmax()])
            where = f"{line_in(table, path)(int(wrong.argmax()))}: {column}"
            if math.isfinite(number_of(value)):
                raise ValueError(f"{where} must be a number of at most {LARGEST_NUMBER:g}, got {value!r}.")
            hint = "; write decimals with a point and thousands without a separator" if "," in value else ""
            raise ValueError(f"{where} must be a number, got {value!r}{hint}.")
        parsed[column] = values
    return table.assign(**parsed)


def integers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the table with integers from 0 in these columns; the error names the file, line and value."""
    table = numbers(table, columns, path)
    for column in columns:
        values = table[column].to_numpy(dtype=np.float64)
        wrong = (values < 0) | (values != np.floor(values))
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(f"{line_in(table, path)(row)}: {column} must be an integer from 0, got {values[row]:g}.")
    return table.astype(dict.fromkeys(columns, np.int64))


def flags(values: pd.Series[Any], where: Callable[[int], str]) -> NDArray[np.bool_]:
    """Values of 0 or 1, or true or false, of any type, as bool [N].

    Args:
        values: The values; their name is that of the column.
        where: Returns the place of a row number, for the error.

    Raises:
        ValueError: If a value is anything else.
    """
    found = [_flag(value) for value in values.astype(object)]
    if None in found:
        row = found.index(None)
        raise ValueError(f"{where(row)}: {values.name} must be 0 or 1, got {str(values.iloc[row])!r}.")
    return np.array(found, dtype=np.bool_)


def _flag(value: object) -> bool | None:
    number = number_of(value)
    text = str(int(number)) if number in (0, 1) else value.decode() if isinstance(value, bytes) else str(value)
    return FLAGS.get(text.strip().lower())


def line_in(table: pd.DataFrame, path: Path) -> Callable[[int], str]:
    """Return a function that names the file and line of a row number."""
    return lambda row: f"{path}, line {int(table.index[row]) + 2}"


def number_of(value: object) -> float:
    """Convert a value or text to a float; nan if it is not a number, such as ``1_000`` and ``1,000``."""
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value.strip()) else math.nan
    try:
        return float(value)  # type: ignore[arg-type]  # anything that a column may hold
    except (TypeError, ValueError):
        return math.nan
