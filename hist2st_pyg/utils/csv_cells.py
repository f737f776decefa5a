"""CSV tables of names and numbers, in which no name is a formula to a spreadsheet."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hist2st_pyg.utils.files import atomic_path

if TYPE_CHECKING:
    from pandas import DataFrame

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The start of a text that a spreadsheet would compute, or that an apostrophe keeps from it."""


def quoted_name(name: Any) -> Any:
    """A name with an apostrophe before it if it begins like a formula; anything else as it is."""
    return f"'{name}" if isinstance(name, str) and _FORMULA.match(name) else name


def unquoted_name(text: str) -> str:
    """The name of which :func:`quoted_name` made a text."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_csv(table: DataFrame, path: str | Path, *, index_label: str | None = None) -> None:
    """Write a table atomically; names of rows, of columns and in cells are quoted, numbers are not touched.

    Args:
        table: The table.
        path: The file.
        index_label: The heading of the names of the rows; None takes the index's name, and leaves an index without
            a name out.
    """
    from pandas.api.types import is_numeric_dtype

    label = index_label or (None if table.index.name is None else str(table.index.name))
    quoted = table.set_axis([quoted_name(name) for name in table.index])
    for place, dtype in enumerate(table.dtypes):
        if not is_numeric_dtype(dtype):
            quoted.isetitem(place, [quoted_name(value) for value in quoted.iloc[:, place].astype(object)])
    quoted.columns = [quoted_name(name) for name in table.columns]
    # csv takes a carriage return for no line break, unlike readers.
    texts = [str(text) for text in (*quoted.index, *quoted.columns, *quoted.select_dtypes(object).to_numpy().ravel())]
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if any("\r" in text for text in texts) else csv.QUOTE_MINIMAL
    with atomic_path(path) as temporary:
        quoted.to_csv(temporary, index_label=label, index=label is not None, quoting=quoting)
