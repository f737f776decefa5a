"""Read the spots at which to predict from a file or an AnnData."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.anndata import IN_TISSUE, in_tissue, keep_inside, set_places
from hist2st_pyg.io.columns import flags, integers, line_in, numbers
from hist2st_pyg.io.spaceranger import POSITIONS, check_positions
from hist2st_pyg.io.tables import name_column, read_table
from hist2st_pyg.section import PLACES
from hist2st_pyg.utils.array_places import grid_from_positions
from hist2st_pyg.utils.files import read_h5ad

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

SUFFIXES = (".csv", ".tsv", ".parquet", ".h5ad")
"""Suffixes of spot files."""


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
            raise TypeError(f"Spots: grid must hold integers (array column and row), got {grid.dtype}.")
        object.__setattr__(self, "names", [str(name) for name in self.names])
        object.__setattr__(self, "pos", np.array(self.pos, dtype=np.float64))
        object.__setattr__(self, "grid", grid.astype(np.int64))
        if not self.names:
            raise ValueError("Spots: at least one spot is required.")
        for field in ("pos", "grid"):
            shape = getattr(self, field).shape
            if shape != (len(self), 2):
                raise ValueError(f"Spots: {field} must be [N, 2] for {len(self)} names, got shape {list(shape)}.")
        if not np.isfinite(self.pos).all():
            raise ValueError(f"Spots: pos must be finite, got {self._first(~np.isfinite(self.pos))}.")
        if (self.grid < 0).any():
            raise ValueError(f"Spots: grid must be 0 or more, got {self._first(self.grid < 0)}.")
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                raise ValueError(f"Spots: names must be unique, got {name!r} more than once.")
            seen.add(name)

    def _first(self, wrong: NDArray[np.bool_]) -> str:
        spot = int(wrong.any(axis=1).argmax())
        return f"{self.pos[spot].tolist()}, array place {self.grid[spot].tolist()} for spot {self.names[spot]!r}"

    def __len__(self) -> int:
        return len(self.names)


def read_spots(path: str | Path) -> Spots:
    """Read a spot file; the columns of a table determine its format.

    Args:
        path: A her2st ``*_selection.tsv`` (unselected spots are dropped), a Visium ``tissue_positions*.csv`` with or
            without header or ``.parquet`` (spots off the tissue are dropped), or a CSV with columns ``x, y`` in
            full-resolution pixels and, where known, ``name, array_col, array_row``; or an AnnData file (``.h5ad``) with
            ``obsm["spatial"]``, whose counts are not used. Spots whose ``in_tissue`` is 0 are dropped in each.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is none of these, a value is wrong, no spot is left, or two spots share a position;
            the message names the file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no spot file {path}.")
    if path.suffix.lower() == ".h5ad":
        return annotated_spots(read_h5ad(path), path)
    table = name_column(read_table(path, headerless=POSITIONS), POSITIONS[0])
    read = next((read for _, columns, read in FORMATS if set(columns) <= set(table.columns)), None)
    if read is None:
        accepted = "; ".join(f"{what}: {', '.join(columns)}" for what, columns, _ in FORMATS)
        raise ValueError(
            f"{path} is not a spot file: its columns are {', '.join(map(repr, table.columns))}. Accepted are: "
            f"{accepted}."
        )
    return read(table, path)


def _read_her2st(table: pd.DataFrame, path: Path) -> Spots:
    if "selected" in table:
        table = _where(table, "selected", path)
    table = integers(table, ("x", "y"), path)
    names = (table["x"].astype(str) + "x" + table["y"].astype(str)).tolist()
    return _spots(table, path, names, ("pixel_x", "pixel_y"), ("x", "y"))


def _read_visium(table: pd.DataFrame, path: Path) -> Spots:
    table = _where(check_positions(table, path), IN_TISSUE, path)
    # Space Ranger writes row before column; a row counts along y.
    places, pixels = ("array_col", "array_row"), ("pxl_col_in_fullres", "pxl_row_in_fullres")
    return _spots(table, path, table["barcode"].astype(str).tolist(), pixels, places)


def _read_generic(table: pd.DataFrame, path: Path) -> Spots:
    table = table.rename(columns={POSITIONS[0]: "name"}) if "name" not in table else table
    if IN_TISSUE in table:
        table = _where(table, IN_TISSUE, path)
    names = table["name"].astype(str).tolist() if "name" in table else [f"spot_{index}" for index in range(len(table))]
    given = [column for column in ("array_col", "array_row") if column in table]
    if len(given) == 1:
        raise ValueError(f"{path} has {given[0]} alone; give both array_col and array_row, or neither.")
    return _spots(table, path, names, ("x", "y"), given)


def _where(table: pd.DataFrame, column: str, path: Path) -> pd.DataFrame:
    """The rows in which a column of zeros and ones is 1."""
    inside = flags(table[column], line_in(table, path))
    if not inside.any():
        raise ValueError(f"{path} has no spot left: {column} is 0 in all {len(inside)} rows.")
    return table if inside.all() else table.iloc[np.flatnonzero(keep_inside(inside, str(path)))]


def _spots(
    table: pd.DataFrame, path: Path, names: Sequence[str], pixels: Sequence[str], places: Sequence[str]
) -> Spots:
    """Make spots from columns; without columns of array places these are derived from the positions."""
    pos = numbers(table, pixels, path)[list(pixels)].to_numpy(dtype=np.float64)
    grid = integers(table, places, path)[list(places)].to_numpy() if places else None
    try:
        _refuse_shared_positions(names, pos)
        return Spots(list(names), pos, grid_from_positions(pos) if grid is None else grid)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


FORMATS: tuple[tuple[str, tuple[str, ...], Callable[[pd.DataFrame, Path], Spots]], ...] = (
    ("her2st *_selection.tsv (optional: selected)", ("x", "y", "pixel_x", "pixel_y"), _read_her2st),
    ("Visium tissue_positions*.csv, with or without this header, or .parquet", POSITIONS, _read_visium),
    ("CSV in full-resolution pixels (optional: name, array_col, array_row)", ("x", "y"), _read_generic),
)
"""The description, required columns and reader of each format; the first that fits is used."""


def annotated_spots(adata: AnnData, source: str | Path = "The AnnData of spots") -> Spots:
    """The spots of an AnnData, of which only positions and places are read; see :func:`read_spots`.

    Args:
        adata: With ``obsm["spatial"]`` and, where known, ``obs["array_col"]``, ``obs["array_row"]``, ``in_tissue``.
        source: Its name in errors.

    Raises:
        ValueError: If a position or place is missing or wrong, or no spot is in the tissue.
    """
    import anndata

    columns = [column for column in (*PLACES, IN_TISSUE) if column in adata.obs]
    bare = anndata.AnnData(obs=adata.obs[columns].copy(), obsm={key: adata.obsm[key] for key in adata.obsm})
    bare = in_tissue(bare, source)
    set_places(bare, source)
    try:
        grid = bare.obs[list(PLACES)].to_numpy()
        return Spots(list(bare.obs_names), bare.obsm["spatial"], grid)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from error


def _refuse_shared_positions(names: Sequence[str], pos: NDArray[np.float64]) -> None:
    first: dict[tuple[float, float], str] = {}
    shared = []
    for name, (x, y) in zip(names, pos.tolist(), strict=True):
        if (x, y) in first:
            shared.append(f"{first[x, y]!r} and {name!r} at {x:g}, {y:g}")
        first.setdefault((x, y), name)
    if shared:
        more = f" and {len(shared) - 3} more pairs" if len(shared) > 3 else ""
        raise ValueError(f"spots share a position: {'; '.join(shared[:3])}{more}. Keep one spot per position.")
