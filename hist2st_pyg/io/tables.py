"""Reading tables of spots and counts, with errors that name the file, the line and the value."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.utils.csv_cells import unquoted_name
from hist2st_pyg.utils.files import read_parquet, read_text

if TYPE_CHECKING:
    import pandas as pd

UNLABELED = "undetermined"
"""The word of her2st for spots without a clear region; spots that a data set leaves without a label get it too."""


def read_table(path: Path, headerless: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table of text, separated by tabs or commas, which may be packed (``.gz``), or a parquet file.

    Args:
        path: The file.
        headerless: The columns of a file without header, which is known by as many fields and a number among them.

    Returns:
        The rows; those of text hold str. A row's index is its line less two, as with pandas, for the errors of
        :func:`numbers`; the first row of a parquet file is line 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, has no rows, or has rows of unequal length.
    """
    import pandas as pd

    if path.suffix == ".parquet":
        table = read_parquet(path)
        if table.empty:
            raise ValueError(f"{path} has no spots.")
        return table.set_axis(pd.RangeIndex(-1, len(table) - 1))
    if path.suffix == ".gz":
        with _naming(path):
            content = gzip.decompress(path.read_bytes()).decode("utf-8-sig").splitlines()
    else:
        content = read_text(path).splitlines()
    delimiter = "\t" if content and "\t" in content[0] else ","
    lines = enumerate(csv.reader(content, delimiter=delimiter), start=1)
    numbered = [(line, [unquoted_name(field.strip()) for field in row]) for line, row in lines if any(row)]
    if not numbered:
        raise ValueError(f"{path} is empty.")
    columns = numbered[0][1]
    if len(columns) == len(headerless) and any(math.isfinite(_number(field)) for field in columns[1:]):
        columns = list(headerless)
    else:
        del numbered[0]
    if not numbered:
        raise ValueError(f"{path} has a header and no spots.")
    for line, row in numbered:
        if len(row) != len(columns):
            raise ValueError(f"{path}, line {line} has {len(row)} fields, the first line has {len(columns)}.")
    table = pd.DataFrame([row for _, row in numbered], [line - 2 for line, _ in numbered], columns, dtype=object)
    return table.loc[:, ~table.columns.duplicated()]


def require_columns(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise a ValueError that names the columns which a table lacks, and those it has."""
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}.")


def numbers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the table with finite numbers in these columns; the error names the file, line and value."""
    from pandas.api.types import is_numeric_dtype

    parsed = {}
    for column in columns:
        values = table[column] if is_numeric_dtype(table[column]) else table[column].map(_number).astype(np.float64)
        wrong = ~np.isfinite(values.to_numpy(dtype=np.float64, na_value=np.nan))
        if wrong.any():
            value = str(table[column].iloc[wrong.argmax()])
            raise ValueError(f"{path}, line {line_of(table, wrong)}: {column} is a number, got {value!r}.")
        parsed[column] = values
    return table.assign(**parsed)


def integers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the table with integers from 0 in these columns; the error names the file, line and value."""
    table = numbers(table, columns, path)
    for column in columns:
        values = table[column].to_numpy(dtype=np.float64)
        wrong = (values < 0) | (values != np.floor(values))
        if wrong.any():
            value, line = values[wrong.argmax()], line_of(table, wrong)
            raise ValueError(f"{path}, line {line}: {column} is an integer from 0, got {value:g}.")
    return table.astype(dict.fromkeys(columns, np.int64))


def line_of(table: pd.DataFrame, wrong: NDArray[np.bool_]) -> int:
    """The line of the first row that is wrong, in the file from which the table was read."""
    return int(table.index[int(wrong.argmax())]) + 2


def _number(value: object) -> float:
    """The number that a value says, nan where it says none."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def by_place(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Round columns ``x, y`` to the array's integers and index the table by place, ``"COLxROW"``.

    Args:
        table: A table with the numeric columns ``x, y``.
        path: Its file, for the error.

    Raises:
        ValueError: If two rows are at one place or a place is negative.
    """
    import pandas as pd

    places = table[["x", "y"]].round().astype(np.int64)
    names = pd.Index(places["x"].astype(str) + "x" + places["y"].astype(str), dtype=object, name=None)
    for wrong, problem in ((names.duplicated(), "is there more than once"), ((places < 0).any(axis=1), "is negative")):
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
        ValueError: If the file is damaged, a gene or spot is there twice, or a count is not a whole number from 0.
    """
    import pandas as pd

    with _naming(path):
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as file:
            # pandas would silently rename a gene that is there twice.
            header, first = (file.readline().rstrip("\r\n").split("\t") for _ in range(2))
        genes = header[1:]
        if len(header) != len(first):
            raise ValueError(f"the header has {len(header)} fields, the first spot {len(first)}")
        if len(set(genes)) < len(genes) or "" in genes:
            gene = next(gene for gene in genes if genes.count(gene) > 1 or not gene)
            raise ValueError(f"gene {gene!r} is there more than once" if gene else "a gene has no name")
        counts = pd.read_csv(path, sep="\t", index_col=0, keep_default_na=False)
    counts.index = pd.Index(counts.index.astype(str).to_numpy(dtype=object))
    bad = counts.index[~counts.index.str.fullmatch(r"\d+x\d+")]
    if len(bad):
        raise ValueError(f"{path}: a spot is named COLxROW, such as 10x13, got {bad[0]!r}.")
    if counts.index.has_duplicates:
        raise ValueError(f"{path}: spot {counts.index[counts.index.duplicated()][0]!r} is there more than once.")
    text = counts.select_dtypes(exclude="number")
    values = counts.to_numpy() if text.empty else text.apply(pd.to_numeric, errors="coerce").to_numpy()
    wrong = np.argwhere(values < 0 if values.dtype.kind == "i" else ~((values >= 0) & (values == np.floor(values))))
    if len(wrong):
        spot, column = wrong[0]
        gene = (counts if text.empty else text).columns[column]
        got = counts[gene].iloc[spot]
        raise ValueError(
            f"{path}: spot {counts.index[spot]}, gene {gene}: a count is a whole number from 0, got {str(got)!r}."
        )
    return counts


def read_genes(path: str | Path) -> list[str]:
    """Read a gene panel from a text file, one gene a line; empty lines, and spaces around a name, do not count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text in UTF-8, is empty, or names a gene twice.
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
    """Read a published gene panel from its file in a folder, or in the folder around it.

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
        "checkpoints predict them. Without it use panel 'variable', or name a file of your own."
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into a ValueError that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        yield
    except (OSError, EOFError, zlib.error, ValueError) as error:  # pandas' and Unicode's errors are ValueErrors
        raise ValueError(f"{path} cannot be read: {error}. Get the file again.") from error
