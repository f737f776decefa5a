"""Write CSV tables whose names a spreadsheet does not evaluate as formulas."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hist2st_pyg.utils.files import atomic_path

if TYPE_CHECKING:
    from pandas import DataFrame

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The start of a text that a spreadsheet would evaluate, with or without apostrophes before it."""


def quoted_name(name: Any) -> Any:
    """Put an apostrophe before a name that begins like a formula; return anything else unchanged."""
    return f"'{name}" if isinstance(name, str) and _FORMULA.match(name) else name


def unquoted_name(text: str) -> str:
    """Undo :func:`quoted_name`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_csv(table: DataFrame, path: str | Path, *, index_label: str | None = None) -> None:
    """Write a table atomically, with :func:`quoted_name` applied to row names, column names and text cells.

    Args:
        table: The table.
        path: The file.
        index_label: The heading of the row names; None uses the index's name, and omits an index without a name.
    """
    from pandas.api.types import is_numeric_dtype

    label = index_label or (None if table.index.name is None else str(table.index.name))
    quoted = table.set_axis([quoted_name(name) for name in table.index])
    for place, dtype in enumerate(table.dtypes):
        if not is_numeric_dtype(dtype):
            quoted.isetitem(place, [quoted_name(value) for value in quoted.iloc[:, place].astype(object)])
    quoted.columns = [quoted_name(name) for name in table.columns]
    # Readers treat a carriage return as a line break; Python's csv writer would leave it unquoted.
    texts = [str(text) for text in (*quoted.index, *quoted.columns, *quoted.select_dtypes(object).to_numpy().ravel())]
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if any("\r" in text for text in texts) else csv.QUOTE_MINIMAL
    with atomic_path(path) as temporary:
        quoted.to_csv(temporary, index_label=label, index=label is not None, quoting=quoting)
