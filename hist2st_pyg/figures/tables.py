"""Pictures of tables: a heat map of genes and regions, a dot plot of gene sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.figures.canvas import LETTER_INCHES, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

DOT_AREAS = (8.0, 230.0)
"""Areas of the smallest and the largest dot, in points squared."""


@plain_text
def heat_map(table: DataFrame, *, title: str = "", unit: str = "", column_unit: str = "") -> Figure:
    """Draw a table of values around 0: red above, blue below, white at 0.

    Args:
        table: Rows and columns with their names; cells without a number stay white.
        title: The figure's title.
        unit: Label of the color bar.
        column_unit: Label of the columns.

    Raises:
        ValueError: If the table is empty.
    """
    values = _values(table)
    figure, axis = _table_figure(table, title, 0.42, 0.19)
    most = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    image = axis.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    _names(axis, table, column_unit)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    bar = figure.colorbar(image, ax=axis, shrink=min(1.0, 8 / len(values)), pad=0.03)
    bar.set_label(unit, fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return figure


@plain_text
def dot_plot(
    color: DataFrame,
    size: DataFrame,
    *,
    title: str = "",
    unit: str = "",
    size_unit: str = "",
    column_unit: str = "",
    least: float = 1.0,
) -> Figure:
    """Draw a table as dots: one value as color, another as area.

    Args:
        color: Values from 0; cells without a number have no dot.
        size: Values from 0 of the same rows and columns.
        title: The figure's title.
        unit: Label of the color.
        size_unit: Label of the area.
        column_unit: Label of the columns; a single column's name follows it.
        least: Smallest value of the darkest color, so that small values look small.

    Raises:
        ValueError: If the table is empty, or rows or columns differ.
    """
    shades, areas = _values(color), _values(size)
    if list(color.index) != list(size.index) or list(color.columns) != list(size.columns):
        raise ValueError("color and size must have the same rows and columns.")
    rows, columns = shades.shape
    figure, axis = _table_figure(color, title, 0.45, 0.3)
    most = float(np.nanmax(areas, initial=0)) or 1.0
    row, column = np.nonzero(np.isfinite(shades))
    dots = axis.scatter(
        column,
        row,
        s=_area(areas[row, column] / most),
        c=shades[row, column],
        cmap="Reds",
        vmin=0,
        vmax=max(float(np.nanmax(shades, initial=0)), least),
        edgecolors="0.4",
        linewidths=0.6,
    )
    _names(axis, color, column_unit)
    axis.set(xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6), axisbelow=True)
    axis.grid(color="0.93")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    bar = figure.colorbar(dots, ax=axis, shrink=min(1.0, 6 / rows), pad=0.03)
    bar.set_label(unit, fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    for share in (0.25, 0.5, 1.0):
        axis.scatter([], [], s=_area(np.array([share])), c="0.7", edgecolors="0.4", label=f"{share * most:.2g}")
    figure.legend(title=size_unit, frameon=False, fontsize=8, title_fontsize=8, ncols=3, loc="outside lower center")
    return figure


def _table_figure(table: DataFrame, title: str, column: float, row: float) -> tuple[Figure, Axes]:
    """A figure with room for cells of ``column`` by ``row`` inches and for the names beside them."""
    from matplotlib.figure import Figure

    rows, columns = (LETTER_INCHES * max(len(str(name)) for name in names) for names in (table.index, table.columns))
    if table.shape[1] == 1:  # its name is written horizontally
        columns = 0.0
    width = max(1.9 + column * table.shape[1] + rows, 1.2 * LETTER_INCHES * len(title))
    figure = Figure(figsize=(width, 1.1 + max(row * len(table), 1.6) + columns), layout="constrained")
    figure.suptitle(title, fontsize=10)
    return figure, figure.add_subplot()


def _values(table: DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    if not table.size:
        raise ValueError("The table is empty.")
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]] = table.to_numpy(dtype=np.float64)
    return values


def _names(axis: Axes, table: DataFrame, column_unit: str) -> None:
    columns = [str(name) for name in table.columns]
    if len(columns) == 1:
        axis.set_xticks([])
        axis.set_xlabel(f"{column_unit}:\n{columns[0]}" if column_unit else columns[0], fontsize=8)
    else:
        axis.set_xticks(range(len(columns)), columns, fontsize=8, rotation=90)
        axis.set_xlabel(column_unit, fontsize=8)
    axis.set_yticks(range(len(table)), [str(name) for name in table.index], fontsize=8)


def _area(share: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    low, high = DOT_AREAS
    return np.asarray(low + (high - low) * share)
