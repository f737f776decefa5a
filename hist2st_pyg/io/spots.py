"""Where to predict: spots read from a file, or a hexagonal grid over the tissue."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.anndata import set_places
from hist2st_pyg.io.array_places import grid_from_positions
from hist2st_pyg.utils.files import read_h5ad, read_parquet, read_text

SUFFIXES = (".csv", ".tsv", ".parquet", ".h5ad")
"""How spot files end."""

VISIUM = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
"""Columns of Space Ranger's ``tissue_positions*.csv``; before version 2 the file has no header."""


@dataclass(frozen=True, eq=False)
class Spots:
    """Spots of one image, checked when they are made.

    Args:
        names: N unique names.
        pos: Spot centers, float [N, 2]: x right, y down, in full-resolution pixels.
        grid: Array column and row, int [N, 2], from 0.

    Raises:
        TypeError: If the grid is not made of integers.
        ValueError: If there is no spot, or a field has the wrong shape or values.
    """

    names: list[str]
    pos: NDArray[np.float64]
    grid: NDArray[np.int64]

    def __post_init__(self) -> None:
        grid = np.asarray(self.grid)
        if not np.issubdtype(grid.dtype, np.integer):
            raise TypeError(f"Spots: grid holds integers (array column and row), got {grid.dtype}.")
        object.__setattr__(self, "names", [str(name) for name in self.names])
        object.__setattr__(self, "pos", np.array(self.pos, dtype=np.float64))
        object.__setattr__(self, "grid", grid.astype(np.int64))
        if not self.names:
            raise ValueError("Spots: there are none.")
        for field in ("pos", "grid"):
            shape = getattr(self, field).shape
            if shape != (len(self), 2):
                raise ValueError(f"Spots: {field} is [N, 2] for {len(self)} names, got shape {list(shape)}.")
        if not np.isfinite(self.pos).all():
            raise ValueError(f"Spots: pos is finite, got {self._first(~np.isfinite(self.pos))}.")
        if (self.grid < 0).any():
            raise ValueError(f"Spots: grid starts at 0, got {self._first(self.grid < 0)}.")
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                raise ValueError(f"Spots: names are unique, got {name!r} more than once.")
            seen.add(name)

    def _first(self, wrong: NDArray[np.bool_]) -> str:
        spot = int(wrong.any(axis=1).argmax())
        return f"{self.pos[spot].tolist()}, array place {self.grid[spot].tolist()} for spot {self.names[spot]!r}"

    def __len__(self) -> int:
        return len(self.names)


def read_spots(path: str | Path) -> Spots:
    """Read a spot file; the format of a table is known by its columns.

    Args:
        path: A her2st ``*_selection.tsv`` (unselected spots are dropped), a Visium ``tissue_positions*.csv`` with or
            without header or ``.parquet`` (spots off the tissue are dropped), or a CSV with columns ``x, y`` in
            full-resolution pixels and, where known, ``name, array_col, array_row``; or an AnnData file (``.h5ad``) with
            ``obsm["spatial"]``, as scanpy has it, of which nothing else is read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is none of these, a value is wrong, no spot is left, or two spots share a position;
            the message names the file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no spot file {path}.")
    if path.suffix == ".h5ad":
        return _read_annotated(path)
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_table(path)
    read = next((read for _, columns, read in FORMATS if set(columns) <= set(table.columns)), None)
    if read is None:
        accepted = "".join(f"\n  {what}: {', '.join(columns)}" for what, columns, _ in FORMATS)
        raise ValueError(
            f"{path} is not a spot file: its columns are {', '.join(map(repr, table.columns))}. Accepted are{accepted}"
        )
    return read(table)


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def text(self, column: str) -> list[str]:
        index = self.columns.index(column)
        return [row[index].strip() for row in self.rows]

    def numbers(self, *columns: str) -> NDArray[np.float64]:
        """Finite numbers, float [N, columns]."""
        values = np.empty((len(self.rows), len(columns)))
        for place, column in enumerate(columns):
            for index, text in enumerate(self.text(column)):
                if not _is_number(text):
                    raise ValueError(f"{self.path}, line {self.lines[index]}: {column} is a number, got {text!r}.")
                values[index, place] = float(text)
        return values

    def integers(self, *columns: str) -> NDArray[np.int64]:
        """Integers from 0, int [N, columns]."""
        values = self.numbers(*columns)
        wrong = np.argwhere((values < 0) | (values != np.floor(values)))
        if wrong.size:
            index, place = wrong[0]
            raise ValueError(
                f"{self.path}, line {self.lines[index]}: {columns[place]} is an integer from 0, got "
                f"{values[index, place]:g}."
            )
        return values.astype(np.int64)

    def where(self, column: str) -> _Table:
        """The rows in which a column of zeros and ones is 1."""
        values = self.integers(column)[:, 0]
        if (values > 1).any():
            line = self.lines[int((values > 1).argmax())]
            raise ValueError(f"{self.path}, line {line}: {column} is 0 or 1, got {values.max()}.")
        if not values.any():
            raise ValueError(f"{self.path} has no spot left: {column} is 0 in all {len(values)} rows.")
        return _Table(self.path, self.columns, _kept(self.rows, values > 0), _kept(self.lines, values > 0))

    def spots(self, names: list[str], pos: NDArray[np.float64], grid: NDArray[np.int64] | None) -> Spots:
        """The spots; where there is no array it is derived from the positions."""
        try:
            _refuse_shared_positions(names, pos)
            return Spots(names, pos, grid_from_positions(pos) if grid is None else grid)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def _read_her2st(table: _Table) -> Spots:
    if "selected" in table.columns:
        table = table.where("selected")
    grid = table.integers("x", "y")
    return table.spots([f"{x}x{y}" for x, y in grid], table.numbers("pixel_x", "pixel_y"), grid)


def _read_visium(table: _Table) -> Spots:
    table = table.where("in_tissue")
    # Space Ranger writes row before column; a row counts along y.
    pos = table.numbers("pxl_col_in_fullres", "pxl_row_in_fullres")
    return table.spots(table.text("barcode"), pos, table.integers("array_col", "array_row"))


def _read_generic(table: _Table) -> Spots:
    pos = table.numbers("x", "y")
    names = table.text("name") if "name" in table.columns else [f"spot_{index}" for index in range(len(pos))]
    given = [column for column in ("array_col", "array_row") if column in table.columns]
    if len(given) == 1:
        raise ValueError(f"{table.path} has {given[0]} alone; give both array_col and array_row, or neither.")
    return table.spots(names, pos, table.integers(*given) if given else None)


FORMATS: tuple[tuple[str, tuple[str, ...], Callable[[_Table], Spots]], ...] = (
    ("her2st *_selection.tsv (optional: selected)", ("x", "y", "pixel_x", "pixel_y"), _read_her2st),
    ("Visium tissue_positions*.csv, with or without this header, or .parquet", VISIUM, _read_visium),
    ("CSV in full-resolution pixels (optional: name, array_col, array_row)", ("x", "y"), _read_generic),
)
"""What a format is, the columns it is known by, and its reader; the first that fits is used."""


def _read_annotated(path: Path) -> Spots:
    adata = read_h5ad(path)
    set_places(adata, path)
    try:
        grid = adata.obs[["array_col", "array_row"]].to_numpy()
        return Spots(list(adata.obs_names), adata.obsm["spatial"], grid)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _read_parquet(path: Path) -> _Table:
    """As text, so that values are checked as those of text files are."""
    table = read_parquet(path)
    if not len(table):
        raise ValueError(f"{path} has no spots.")
    rows = [list(map(str, row)) for row in table.itertuples(index=False)]
    return _Table(path, list(map(str, table.columns)), rows, list(range(1, len(rows) + 1)))


def _read_table(path: Path) -> _Table:
    """Read tab- or comma-separated text."""
    content = read_text(path).splitlines()
    delimiter = "\t" if content and "\t" in content[0] else ","
    numbered = [(n, row) for n, row in enumerate(csv.reader(content, delimiter=delimiter), start=1) if any(row)]
    if not numbered:
        raise ValueError(f"{path} is empty.")
    columns = [column.strip() for column in numbered[0][1]]
    if len(columns) == len(VISIUM) and all(map(_is_number, columns[1:])):
        columns = list(VISIUM)
    else:
        del numbered[0]
    if not numbered:
        raise ValueError(f"{path} has a header and no spots.")
    for line, row in numbered:
        if len(row) != len(columns):
            raise ValueError(f"{path}, line {line} has {len(row)} fields, the first line has {len(columns)}.")
    return _Table(path, columns, [row for _, row in numbered], [line for line, _ in numbered])


def _refuse_shared_positions(names: Sequence[str], pos: NDArray[np.float64]) -> None:
    first: dict[tuple[float, float], str] = {}
    shared = []
    for name, (x, y) in zip(names, pos.tolist(), strict=True):
        if (x, y) in first:
            shared.append(f"{first[x, y]!r} and {name!r} at {x:g}, {y:g}")
        first.setdefault((x, y), name)
    if shared:
        more = f" and {len(shared) - 3} more pairs" if len(shared) > 3 else ""
        raise ValueError(f"spots share a position: {'; '.join(shared[:3])}{more}. Keep one spot a position.")


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _kept(items: Sequence[Any], keep: NDArray[np.bool_]) -> list[Any]:
    return [item for item, kept in zip(items, keep, strict=True) if kept]
