"""Draw the accuracy on five splits: share of the attainable PCC, and PCC against training time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.reporting.cells import Cell, Group, metric
from benchmarks.reporting.pictures import MODEL, OTHER, REFERENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {
    "paper_recipe": "#b8b8c0",
    "ridge_neighbors": REFERENCE,
    "kernel_ridge": "#e2b36f",
    "kernel_ridge_within_sections": "#f0d9b5",
    "networks": "#b9a8dd",
    "small": MODEL,
}
"""The models in the picture of shares."""
MARKERS = "s^Dv*P"
"""Markers of the other models."""


def ceiling(group: Group) -> float:
    """Return the attainable mean PCC of a split's test section."""
    return float(np.mean([cell["metrics"]["ceiling_pcc_mean"] for cell in group.cells]))


def share_of_ceiling(groups: Mapping[str, Group]) -> Figure:
    """Draw bars: the share of the attainable PCC that each model reaches on each split; a dot is a seed."""
    from matplotlib.figure import Figure

    shown = [name for name in COLORS if any(group.of(name) for group in groups.values())]
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shown)
    for i, name in enumerate(shown):
        for j, group in enumerate(groups.values()):
            shares = [100 * cell["metrics"]["pcc_mean"] / ceiling(group) for cell in group.of(name)]
            if not shares:
                continue
            x = j + (i - (len(shown) - 1) / 2) * width
            axes.bar(x, np.mean(shares), 0.92 * width, color=COLORS[name], label=name if j == 0 else None)
            if len(shares) > 1:
                axes.plot([x] * len(shares), shares, ".", color="black", markersize=3)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [title.replace(": ", "\n") for title in groups])
    axes.set_ylabel("% of the attainable PCC")
    figure.legend(frameon=False, ncols=3, loc="outside upper center")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def time_to_accuracy(groups: Mapping[str, Group]) -> Figure | None:
    """Draw each model's PCC against the processor seconds of its training, split by split; mean over seeds.

    Returns:
        None if no result has the seconds.
    """
    from matplotlib.figure import Figure

    timed = {title: found for title, group in groups.items() if (found := _timed(group))}
    if not timed:
        return None
    names = sorted({name for found in timed.values() for name in found}, key=lambda name: (name not in COLORS, name))
    others = [name for name in names if name not in COLORS]
    figure = Figure(figsize=(2.4 * len(timed), 3.6), layout="constrained")
    for axes, (title, found) in zip(np.atleast_1d(figure.subplots(1, len(timed))), timed.items(), strict=True):
        for name in (name for name in names if name in found):
            marker = MARKERS[others.index(name) % len(MARKERS)] if name in others else "o"
            axes.plot(*found[name], marker, color=COLORS.get(name, OTHER), label=name)
        axes.set(xscale="log", title=title.replace(": ", "\n"))
        axes.margins(x=0.2, y=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    handles = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, frameon=False, ncols=4, loc="outside upper center", fontsize=9)
    figure.supxlabel("processor seconds of reading and training", fontsize=9)
    figure.supylabel("mean PCC", fontsize=9)
    return figure


def _timed(group: Group) -> dict[str, tuple[float, float]]:
    """Return seconds and PCC of each model whose seconds are known."""
    found = {}
    for name in group.models():
        seconds, pcc = (group.mean(name, value) for value in (_seconds, metric("pcc_mean")))
        if seconds is not None and pcc is not None:
            found[name] = (seconds, pcc)
    return found


def _seconds(cell: Cell) -> float | None:
    return cell.get("processor_seconds")
