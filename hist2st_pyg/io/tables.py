"""Reading the tables of Spatial Transcriptomics data sets, with errors that name the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.utils.files import read_text

if TYPE_CHECKING:
    import pandas as pd

UNLABELED = "undetermined"
"""The word of her2st for spots without a clear region; spots that a data set leaves without a label get it too."""


def read_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table that must have certain columns; a ``.gz`` file is unpacked.

    Args:
        path: The file.
        columns: The columns wanted; others are left out.
        optional: Further columns that are read where they are there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or lacks a column.
    """
    import pandas as pd

    with _naming(path):
        table = pd.read_csv(path, sep="\t")
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError("its rows have more fields than its header")
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}.")
    return table[[*columns, *(column for column in optional if column in table and column not in columns)]]


def numbers(table: pd.DataFrame, columns: Sequence[str], path: Path) -> pd.DataFrame:
    """Return the table when these columns hold finite numbers; the error names the file, line and value."""
    import pandas as pd

    for column in columns:
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            value = table[column].iloc[wrong[0]]
            raise ValueError(f"{path}, line {table.index[wrong[0]] + 2}: {column} is a number, got {str(value)!r}.")
    return table


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
