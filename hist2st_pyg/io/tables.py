"""Reading tables of spots and counts, with errors that name the file, the line and the value."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.io.columns import number_of
from hist2st_pyg.utils.csv_cells import unquoted_name
from hist2st_pyg.utils.files import read_bytes, read_parquet, read_text
from hist2st_pyg.utils.reading import reading

if TYPE_CHECKING:
    import pandas as pd

UNLABELED = "undetermined"
"""The label of spots without a clear region, as in her2st; also of spots that a data set leaves unlabeled."""


ROW_NAMES = ""
"""The column of row names: R's ``write.csv`` and pandas' ``to_csv`` and ``to_parquet`` give it no name."""


def read_table(path: Path, headerless: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of text, separated by tabs, semicolons or commas, also compressed (``.gz``), or a parquet file.

    Args:
        path: The file.
        headerless: The columns of a file without header, whose first line has as many fields, one of them a number.

    Returns:
        The rows; those of text hold str. A row's index is its line minus two, as with pandas, for the errors of
        :func:`numbers`; the first row of a parquet file is line 1. Row names are a column, see :data:`ROW_NAMES`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, has no rows, or has rows of unequal length.
    """
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        table = _with_row_names(read_parquet(path))
        if table.empty:
            raise ValueError(f"{path} has no spots.")
        return table.set_axis(pd.RangeIndex(-1, len(table) - 1))
    content = read_text(path).splitlines()
    # Not by pandas, which fills short rows, renames columns of the same name, and does not know a row's line.
    with reading(path, "a table"):
        numbered = [
            (line, [unquoted_name(field.strip()) for field in row])
            for line, row in enumerate(csv.reader(content, delimiter=_delimiter(content)), start=1)
            if any(row)
        ]
    if not numbered:
        raise ValueError(f"{path} is empty.")
    columns = numbered[0][1]
    if len(columns) == len(headerless) and any(math.isfinite(number_of(field)) for field in columns[1:]):
        columns = list(headerless)
    else:
        del numbered[0]
    if not numbered:
        raise ValueError(f"{path} has a header but no spots.")
    if all(len(row) == len(columns) + 1 for _, row in numbered) and _are_row_names([row[0] for _, row in numbered]):
        columns = [ROW_NAMES, *columns]
    for line, row in numbered:
        if len(row) != len(columns):
            raise ValueError(f"{path}, line {line} has {len(row)} fields, the first line has {len(columns)}.")
    table = pd.DataFrame([row for _, row in numbered], [line - 2 for line, _ in numbered], columns, dtype=object)
    return _unique_columns(table, path)


def _unique_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Keep the first of identical columns; different columns of the same name are an error."""
    for name in table.columns[table.columns.duplicated()].unique():
        values = table.loc[:, table.columns == name].to_numpy()
        if name != ROW_NAMES and (values != values[:, :1]).any():
            raise ValueError(f"{path} has the column {name!r} more than once, with different values.")
    return table.loc[:, ~table.columns.duplicated()]


def _delimiter(lines: Sequence[str]) -> str:
    """The separator of a table's fields: tabs, else the more frequent of semicolons and commas in the first line."""
    first = lines[0] if lines else ""
    return "\t" if "\t" in first else ";" if first.count(";") > first.count(",") else ","


def _are_row_names(fields: Sequence[str]) -> bool:
    """Whether fields beyond the header are row names, as from R's ``write.table``: 1, 2, ..., or unique texts."""
    if fields == [str(number) for number in range(1, len(fields) + 1)]:
        return True
    return len(set(fields)) == len(fields) and not any(math.isfinite(number_of(field)) for field in fields)


def _with_row_names(table: pd.DataFrame) -> pd.DataFrame:
    """Add the index of a parquet table as a column of text, unless it only numbers the rows."""
    from pandas.api.types import is_integer_dtype

    if table.index.name is None and is_integer_dtype(table.index):
        return table
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in table.index]
    column = ROW_NAMES if table.index.name is None else str(table.index.name)
    return table if column in table else table.assign(**{column: names})


def name_column(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Turn row names that are not numbers into the column of names, if the table has none."""
    if column in table or ROW_NAMES not in table:
        return table
    if table[ROW_NAMES].map(lambda name: math.isfinite(number_of(name))).all():
        return table
    return table.rename(columns={ROW_NAMES: column})


def require_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise a ValueError that names the columns which a table lacks, and those it has."""
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}.")


def by_place(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Round columns ``x, y`` to the array's integers and index the table by place, ``"COLxROW"``.

    Args:
        table: A table with the numeric columns ``x, y``.
        path: Its file, for the error.

    Raises:
        ValueError: If two rows have the same place or a place is negative.
    """
    import pandas as pd

    places = table[["x", "y"]].round().astype(np.int64)
    names = pd.Index(places["x"].astype(str) + "x" + places["y"].astype(str), dtype=object, name=None)
    for wrong, problem in ((names.duplicated(), "occurs more than once"), ((places < 0).any(axis=1), "is negative")):
        if wrong.any():
            raise ValueError(f"{path}: array place {names[wrong][0]} {problem}.")
    return table.assign(x=places["x"], y=places["y"]).set_index(names)


def read_counts(path: Path) -> pd.DataFrame:
    """Read counts, spots x genes, whose first column is ``COLxROW``; a ``.gz`` file is unpacked.

    Args:
        path: The file.

    Returns:
        Integer counts, [N, genes].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, a gene or spot occurs twice, or a count is not a whole number from 0.
    """
    import pandas as pd

    content = read_bytes(path)
    with reading(path, "a table of counts"):
        lines = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig")
        # pandas would silently rename a duplicate gene.
        header, first = (lines.readline().rstrip("\n").split("\t") for _ in range(2))
        genes = header[1:]
        if not genes or first == [""]:
            raise ValueError("it has no genes or no spots")
        if len(header) != len(first):
            raise ValueError(f"the header has {len(header)} fields, the first spot {len(first)}")
        if len(set(genes)) < len(genes) or "" in genes:
            gene = next(gene for gene in genes if genes.count(gene) > 1 or not gene)
            raise ValueError(f"gene {gene!r} occurs more than once" if gene else "a gene has no name")
        counts = pd.read_csv(io.BytesIO(content), sep="\t", index_col=0, keep_default_na=False, encoding="utf-8-sig")
    counts.index = pd.Index(counts.index.astype(str).to_numpy(dtype=object))
    bad = counts.index[~counts.index.str.fullmatch(r"\d+x\d+")]
    if len(bad):
        raise ValueError(f"{path}: a spot's name must be COLxROW, such as 10x13, got {bad[0]!r}.")
    if counts.index.has_duplicates:
        raise ValueError(f"{path}: spot {counts.index[counts.index.duplicated()][0]!r} occurs more than once.")
    text = counts.select_dtypes(exclude="number")
    values = counts.to_numpy() if text.empty else text.apply(pd.to_numeric, errors="coerce").to_numpy()
    wrong = np.argwhere(values < 0 if values.dtype.kind == "i" else ~((values >= 0) & (values == np.floor(values))))
    if len(wrong):
        spot, column = wrong[0]
        gene = (counts if text.empty else text).columns[column]
        got = counts[gene].iloc[spot]
        raise ValueError(
            f"{path}: spot {counts.index[spot]}, gene {gene}: a count must be a whole number from 0, got {str(got)!r}."
        )
    return counts


def read_genes(path: str | Path) -> list[str]:
    """Read a gene panel from a text file, one gene per line; empty lines and spaces around a name are ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text in UTF-8, is empty, or names a gene twice.
    """
    genes = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    check_genes(genes, str(path))
    return genes


def check_genes(genes: Sequence[str], source: str) -> None:
    """Refuse an empty panel and one that names a gene twice; ``source`` is named in the error."""
    if not genes:
        raise ValueError(f"{source}: the gene panel is empty.")
    seen: set[str] = set()
    for gene in genes:
        if gene in seen:
            raise ValueError(f"{source}: gene {gene!r} is in the panel twice.")
        seen.add(gene)


def read_panel(root: str | Path, name: str) -> list[str]:
    """Read a published gene panel from its file in a folder or in the parent folder.

    Args:
        root: The data set's folder.
        name: The file's name.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: As :func:`read_genes`.
    """
    for folder in (Path(root), Path(root).resolve().parent):
        path = folder / name
        if path.is_file():
            return read_genes(path)
    raise FileNotFoundError(
        f"There is no {name} in {root}. It is a text file with one gene per line, in the order in which the published "
        "checkpoints predict them. Without it use panel 'variable', or name your own file."
    )
