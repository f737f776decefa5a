"""Pictures: maps of expression, histograms of correlation, training curves, tissue. Each function returns a figure.

Matplotlib's object interface is used throughout, so that nothing global changes and no display is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.convert import spot_pitch
from hist2st_pyg.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "magma"
DPI = 150
SPOT_SHARE = 0.9
"""Diameter of a drawn spot as a share of the pitch: a map without gaps, spots still told apart."""


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    return Path(path)


def expression_maps(
    pos: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    image: NDArray[np.uint8] | None = None,
    image_scale: float = 1.0,
    columns: int = 5,
    unit: str = "log10 expression",
) -> Figure:
    """Draw one map of the section for each gene.

    Args:
        pos: Spot centres [N, 2] (x, y) in pixels.
        values: What to colour the spots by, [N], by title.
        image: The section's thumbnail; it becomes the first panel.
        image_scale: Thumbnail pixels per pixel of ``pos``.
        columns: Maps in a row.
        unit: Label of the colour bars.

    Raises:
        ValueError: If there is nothing to draw or a map does not have one value a spot.
    """
    points = _points(pos)
    if not values:
        raise ValueError("There are no genes to draw.")
    panels = len(values) + (image is not None)
    columns = min(columns, panels)
    figure, axes = _panels(-(-panels // columns), columns, points)
    if image is not None:
        _picture(axes[0], points, image, image_scale, "H&E, spots")
    for axis, (title, colour) in zip(axes[image is not None :], values.items(), strict=False):
        _map(figure, axis, points, colour, title, unit)
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure


def true_and_predicted(
    pos: ArrayLike,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    genes: Sequence[str],
    pcc: ArrayLike,
    *,
    n_best: int = 4,
    image: NDArray[np.uint8] | None = None,
    image_scale: float = 1.0,
) -> Figure:
    """Draw measured and predicted maps of the best genes, one gene a column.

    Args:
        pos: Spot centres [N, 2] (x, y) in pixels.
        y_true: Measured expression [N, G].
        y_pred: Predicted expression [N, G].
        genes: The genes' names, G of them.
        pcc: Correlation of each gene [G], nan where it has none.
        n_best: How many genes.
        image: The section's thumbnail; it becomes the first column.
        image_scale: Thumbnail pixels per pixel of ``pos``.

    Raises:
        ValueError: If shapes differ or no gene has a correlation.
    """
    points, scores = _points(pos), np.asarray(pcc, dtype=float)
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if not true.shape == predicted.shape == (len(points), len(genes)) or scores.shape != (len(genes),):
        raise ValueError(
            f"Expected y_true and y_pred [{len(points)}, {len(genes)}] and pcc [{len(genes)}], got {list(true.shape)}, "
            f"{list(predicted.shape)} and {list(scores.shape)}."
        )
    best = [int(i) for i in np.argsort(-np.nan_to_num(scores, nan=-2)) if np.isfinite(scores[i])][:n_best]
    if not best:
        raise ValueError("No gene has a correlation, so there is none to draw.")
    first = int(image is not None)
    columns = len(best) + first
    figure, axes = _panels(2, columns, points)
    if image is not None:
        _picture(axes[0], points, image, image_scale, "H&E", outline=False)
        _picture(axes[columns], points, image, image_scale, "H&E, spots")
    for column, gene in enumerate(best, start=first):
        _map(figure, axes[column], points, true[:, gene], f"{genes[gene]}\nmeasured")
        title = f"{genes[gene]}\npredicted (PCC {scores[gene]:.2f})"
        _map(figure, axes[columns + column], points, predicted[:, gene], title)
    return figure


def pcc_histogram(pcc: ArrayLike, title: str = "") -> Figure:
    """Draw the distribution of the genes' correlations.

    Args:
        pcc: Correlation of each gene [G], nan where it has none; those are counted in the caption.
        title: The figure's title.

    Raises:
        ValueError: If no gene has a correlation.
    """
    from matplotlib.figure import Figure

    scores = np.asarray(pcc, dtype=float)
    scored = scores[np.isfinite(scores)]
    if not len(scored):
        raise ValueError("No gene has a correlation, so there is no histogram to draw.")
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.add_subplot()
    axis.hist(scored, bins=np.linspace(min(-0.2, scored.min()), max(0.8, scored.max()), 41).tolist(), color="#7b5ea7")
    axis.axvline(0, color="0.7", linewidth=1, zorder=0)
    for value, style, name in ((scored.mean(), "-", "mean"), (np.median(scored), "--", "median")):
        axis.axvline(value, color="black", linestyle=style, label=f"{name} {value:.3f}")
    axis.set_xlabel(f"PCC over the spots ({len(scored)} genes, {len(scores) - len(scored)} left out)")
    axis.set_ylabel("genes")
    axis.set_title(title)
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def training_curves(rows: Sequence[Mapping[str, str]]) -> Figure:
    """Draw the parts of the loss and the validation PCC of each epoch.

    Args:
        rows: Rows of Lightning's ``metrics.csv``; empty cells are skipped.

    Raises:
        ValueError: If there is no loss in the rows.
    """
    from matplotlib.figure import Figure

    names = sorted({name for row in rows for name, value in row.items() if "/" in name and value})
    losses = [name for name in names if name.startswith("train/")]
    if not losses:
        raise ValueError("The rows hold no training loss.")
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in losses:
        _curve(left, rows, name, name.removeprefix("train/"))
    left.set_ylabel("training loss")
    left.legend(frameon=False)
    if "val/pcc" in names:
        x, y = _curve(right, rows, "val/pcc", None)
        best = int(np.nanargmax(y))
        right.plot(x[best], y[best], "o", color="black")
        right.annotate(f"{y[best]:.3f}", (x[best], y[best]), textcoords="offset points", xytext=(0, 8), ha="center")
        right.margins(y=0.12)
        right.set_ylabel("validation PCC")
    else:
        right.text(0.5, 0.5, "no validation", ha="center", va="center", transform=right.transAxes)
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def tissue_overview(thumbnail: NDArray[np.uint8], mask: NDArray[np.bool_], positions: ArrayLike) -> Figure:
    """Draw an image beside the tissue found on it, with the spots.

    Args:
        thumbnail: uint8 [h, w, 3].
        mask: bool [h, w].
        positions: Spot centres [N, 2] (x, y) in thumbnail pixels.

    Raises:
        ValueError: If mask and thumbnail differ in size.
    """
    if mask.shape != thumbnail.shape[:2]:
        raise ValueError(f"The mask is {list(mask.shape)}, the thumbnail {list(thumbnail.shape[:2])}.")
    points = _points(positions)
    corners = np.array([[0, 0], [thumbnail.shape[1], thumbnail.shape[0]]])
    figure, (left, right) = _panels(1, 2, corners)
    left.imshow(thumbnail)
    left.set_title("H&E", fontsize=10)
    right.imshow(np.where(mask, 0.8, 1.0), cmap="gray", vmin=0, vmax=1)
    _circles(right, points, facecolors="none", edgecolors="#7b5ea7", linewidths=1.0)
    right.set_title(f"tissue found, {len(points)} spots", fontsize=10)
    for axis in (left, right):
        axis.set_axis_off()
    return figure


def _points(pos: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(pos, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"Positions are [N, 2] of at least one spot, got shape {list(points.shape)}.")
    return points


def _panels(rows: int, columns: int, points: NDArray[np.float64]) -> tuple[Figure, list[Axes]]:
    """A grid of panels of the section's shape."""
    from matplotlib.figure import Figure

    width, height = np.ptp(points, axis=0) + spot_pitch(points)
    ratio = float(np.clip(height / width, 0.4, 2.5))
    figure = Figure(figsize=(3.1 * columns, (2.7 * ratio + 0.4) * rows), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def _map(
    figure: Figure, axis: Axes, points: NDArray[np.float64], colour: ArrayLike, title: str, unit: str = ""
) -> None:
    values = np.asarray(colour, dtype=float)
    if values.shape != (len(points),):
        raise ValueError(f"{title}: a map has one value for each of {len(points)} spots, got {list(values.shape)}.")
    spots = _circles(axis, points, cmap=COLOURS, array=values)
    _frame(axis, points, title)
    bar = figure.colorbar(spots, ax=axis, shrink=0.8, pad=0.02)
    bar.set_label(unit, fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)


def _picture(
    axis: Axes, points: NDArray[np.float64], image: NDArray[np.uint8], scale: float, title: str, outline: bool = True
) -> None:
    height, width = image.shape[:2]
    axis.imshow(image, extent=(0, width / scale, height / scale, 0))
    if outline:
        _circles(axis, points, facecolors="none", edgecolors="black", linewidths=0.5)
    _frame(axis, points, title)


def _circles(axis: Axes, points: NDArray[np.float64], **style: Any) -> Any:
    """Spots in data units, so that they keep their size relative to the section."""
    from matplotlib.collections import EllipseCollection

    diameter = np.full(len(points), SPOT_SHARE * spot_pitch(points))
    circles = EllipseCollection(
        diameter, diameter, np.zeros(len(points)), units="xy", offsets=points, offset_transform=axis.transData, **style
    )
    axis.add_collection(circles)
    return circles


def _frame(axis: Axes, points: NDArray[np.float64], title: str) -> None:
    """Show the spots and a margin; y runs down, as in the image."""
    margin = spot_pitch(points)
    (left, top), (right, bottom) = points.min(0) - margin, points.max(0) + margin
    axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)
    axis.spines[:].set_visible(False)


def _curve(
    axis: Axes, rows: Sequence[Mapping[str, str]], name: str, label: str | None
) -> tuple[list[float], list[float]]:
    points = [(float(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
    # A step's rows are averaged into their epoch.
    epochs = sorted({epoch for epoch, _ in points})
    means = [float(np.mean([value for e, value in points if e == epoch])) for epoch in epochs]
    axis.plot(epochs, means, label=label, color=None if label else "black")
    return epochs, means
