"""Curves and histograms: the genes' correlations, the curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from hist2st_pyg.figures.canvas import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plain_text
def pcc_histogram(pcc: ArrayLike, title: str = "") -> Figure:
    """Draw the distribution of the genes' correlations.

    Args:
        pcc: Correlation of each gene [G], nan for genes without one, which the caption counts.
        title: The figure's title.

    Raises:
        ValueError: If no gene has a correlation.
    """
    from matplotlib.figure import Figure

    scores = np.asarray(pcc, dtype=float)
    scored = scores[np.isfinite(scores)]
    if not len(scored):
        raise ValueError("No gene has a correlation, so the histogram cannot be drawn.")
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


@plain_text
def training_curves(rows: Sequence[Mapping[str, str]]) -> Figure:
    """Draw the parts of the loss of each epoch and, if the training validated, its validation PCC.

    Args:
        rows: Rows of Lightning's ``metrics.csv``, which counts epochs from 0; the picture counts them from 1. Empty
            cells are skipped.

    Raises:
        ValueError: If the rows hold no loss.
    """
    from matplotlib.figure import Figure

    names = sorted({name for row in rows for name, value in row.items() if "/" in name and value})
    losses = [name for name in names if name.startswith("train/")]
    if not losses:
        raise ValueError("The rows hold no training loss.")
    panels = 1 + ("val/pcc" in names)
    figure = Figure(figsize=(4.5 * panels, 3.5), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, panels)))
    for name in losses:
        _curve(axes[0], rows, name, name.removeprefix("train/"))
    axes[0].set_ylabel("training loss")
    axes[0].legend(frameon=False)
    for right in axes[1:]:
        x, y = _curve(right, rows, "val/pcc", None)
        best = int(np.nanargmax(y))
        right.plot(x[best], y[best], "o", color="black")
        right.annotate(f"{y[best]:.3f}", (x[best], y[best]), textcoords="offset points", xytext=(0, 8), ha="center")
        right.margins(y=0.12)
        right.set_ylabel("validation PCC")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.set_xlim(left=0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _curve(
    axis: Axes, rows: Sequence[Mapping[str, str]], name: str, label: str | None
) -> tuple[list[int], list[float]]:
    points = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name)]
    # Average the rows of steps over their epoch.
    epochs = sorted({epoch for epoch, _ in points})
    means = [float(np.mean([value for e, value in points if e == epoch])) for epoch in epochs]
    axis.plot(epochs, means, label=label, color=None if label else "black")
    return epochs, means
