"""Draw the report's pictures from result files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.reporting.cells import Cell, Group, metric
from benchmarks.reporting.columns import seconds as seconds_of
from benchmarks.reporting.comparison import Comparison, gene_ceilings, mean_genes, pictured
from benchmarks.reporting.facts import title
from hist2st_pyg.figures import expression_maps, save
from hist2st_pyg.figures.maps import shared_range
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL, REFERENCE, OTHER, CEILING = "#6d4fb3", "#c46a00", "#8a8a94", "#1a7f64"
COLUMNS = 3
MARKERS = "os^"
"""Markers of models in turn, to tell more of them apart than there are colors."""


def draw(group: Group, comparison: Comparison | None, folder: Path) -> list[tuple[str, str]]:
    """Draw every picture of a group.

    Args:
        group: The group.
        comparison: Its models against the reference.
        folder: Folder of the PNG files.

    Returns:
        Caption and file name of each.
    """
    written = []
    for name, caption, figure in _figures(group, comparison):
        path = save(figure, folder / f"{file_name(f'{group.dataset}_{group.split}_{name}')}.png")
        shrink(path)
        written.append((f"{title(group)}: {caption}", path.name))
    return written


def _figures(group: Group, comparison: Comparison | None) -> Iterator[tuple[str, str, Figure]]:
    reference = comparison.reference if comparison else None
    chosen, how = pictured(group, comparison)
    models = group.models()
    if not models:
        return
    caption = "mean PCC of each test section; a dot is a seed, the line is the attainable PCC."
    yield "sections", caption, by_section(group, models, set(chosen.values()), reference)
    if chosen and reference is not None:
        x, y, ceilings = (
            mean_genes(group, dict.fromkeys(group.folds, reference)),
            mean_genes(group, chosen),
            gene_ceilings(group),
        )
        caption = f"PCC of each gene, mean over test sections and seeds: {how}, against {reference}."
        yield "genes", caption, gene_against_gene(x, y, ceilings, reference, label_of(chosen))
    if any(cell["curves"] for cell in group.cells):
        caption = "validation PCC by epoch; a line is a seed, the dot its chosen epoch."
        yield "curves", caption, curves(group, models)
    yield "cost", "seconds of training, mean of a cell, against PCC.", cost(group, models)
    for fold, model in chosen.items():
        cells = {name: group.of(name, fold) for name in dict.fromkeys([reference, model]) if name is not None}
        shown = {name: found[0] for name, found in cells.items() if found}
        for section in shown[model]["test"] if model in shown else []:
            if not mapped_genes(section, shown):
                continue
            seeds = ", ".join(f"{name} seed {cell['seed']}" for name, cell in shown.items())
            caption = f"section {section} of fold {fold}, measured and predicted ({seeds}; model drawn: {how})."
            yield f"maps_{fold}_{section}", caption, maps(section, shown)


def by_section(group: Group, models: list[str], chosen: set[str], reference: str | None) -> Figure:
    """Draw each model's PCC in each test section, one dot per seed, with the section's ceiling."""
    sections = sorted({(cell["fold"], name) for cell in group.cells for name in cell["test"]})
    columns = min(COLUMNS, len(sections))
    rows = -(-len(sections) // columns)
    figure = _figure(2.2 + 3.0 * columns, (0.24 * len(models) + 1.1) * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for axis, (fold, section) in zip(axes, sections, strict=False):
        for y, model in enumerate(models):
            results = [cell["test"][section]["metrics"] for cell in group.of(model, fold) if section in cell["test"]]
            x = [result["pcc_mean"] for result in results if result.get("pcc_mean") is not None]
            axis.plot(x, [y] * len(x), "o", color=_color(model, chosen, reference), markersize=5, alpha=0.8)
        if (ceiling := section_ceiling(group, fold, section)) is not None:
            axis.axvline(ceiling, color=CEILING, linewidth=1.2)
            axis.annotate(f"{ceiling:.2f}", (ceiling, 1), xycoords=("data", "axes fraction"), xytext=(-3, -10),
                          textcoords="offset points", ha="right", fontsize=8, color=CEILING)  # fmt: skip
        axis.set_title(section if section == fold else f"{section} (fold {fold})", fontsize=10)
        axis.set_yticks(range(len(models)), models, fontsize=8)
        axis.set_ylim(len(models) - 0.5, -0.5)
        axis.grid(axis="y", color="0.93")
        axis.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        _plain(axis)
    _close(axes, len(sections), columns)
    figure.supxlabel("mean PCC over genes", fontsize=9)
    return figure


def gene_against_gene(
    x: dict[str, float | None], y: dict[str, float | None], ceilings: dict[str, float | None], x_name: str, y_name: str
) -> Figure:
    """Draw every gene's PCC of one model against another's, colored by the gene's ceiling."""
    genes = [gene for gene in x if x[gene] is not None and y.get(gene) is not None]
    a, b = (np.array([scores[gene] for gene in genes], dtype=float) for scores in (x, y))
    color = np.array([np.nan if ceilings.get(gene) is None else ceilings[gene] for gene in genes], dtype=float)
    figure = _figure(5.6, 4.8)
    axis = figure.add_subplot()
    low, high = min(a.min(), b.min(), 0) - 0.02, max(a.max(), b.max()) + 0.02
    axis.plot([low, high], [low, high], color="0.75", linewidth=1, zorder=0)
    points = axis.scatter(a, b, c=color, cmap="viridis", s=12, linewidths=0, plotnonfinite=True)
    above = int((b > a).sum())
    axis.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel=f"PCC, {x_name}", ylabel=f"PCC, {y_name}")
    axis.set_title(f"{above} of {len(genes)} genes above the line", fontsize=10)
    bar = figure.colorbar(points, ax=axis, shrink=0.8)
    bar.set_label("attainable PCC", fontsize=9)
    bar.outline.set_visible(False)
    _plain(axis)
    return figure


def curves(group: Group, models: list[str]) -> Figure:
    """Draw the validation PCC of every model and seed, one panel per model, the other models in gray."""
    trained = [model for model in models if any(_curve(cell) for cell in group.of(model))]
    columns = min(COLUMNS, max(1, len(trained)))
    rows = max(1, -(-len(trained) // columns))
    figure = _figure(3.2 * columns, 2.2 * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    for axis, model in zip(axes, trained, strict=False):
        for other in trained:
            for cell in group.of(other):
                points = _curve(cell)
                if not points:
                    continue
                drawn = other == model
                axis.plot(
                    *zip(*points, strict=True), color=MODEL if drawn else "0.88", linewidth=1, zorder=2 if drawn else 1
                )
                if drawn and cell.get("chosen_epoch") is not None:
                    axis.plot(cell["chosen_epoch"] + 1, cell["val_pcc"], "o", color=MODEL, markersize=4, zorder=3)
        axis.set_title(model, fontsize=10)
        _plain(axis)
    _close(axes, len(trained), columns)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("validation PCC", fontsize=9)
    return figure


def cost(group: Group, models: list[str]) -> Figure:
    """Draw the PCC against the cost of training; a model's variants share a color, models that score 0 are left out."""
    figure = _figure(8, 4)
    axis = figure.add_subplot()
    points: dict[str, dict[str, tuple[float, float]]] = {}
    for model in models:
        pcc, seconds = group.mean(model, metric("pcc_mean")), group.mean(model, seconds_of("fit"), per_cell=True)
        if pcc and seconds:
            points.setdefault(group.of(model)[0]["config"]["model"]["name"], {})[model] = (seconds, pcc)
    for i, (name, variants) in enumerate(points.items()):
        label = next(iter(variants)) if len(variants) == 1 else f"{name}, {len(variants)} variants"
        marker = MARKERS[i % len(MARKERS)]
        axis.plot(*zip(*variants.values(), strict=True), marker, color=f"C{i % 10}", markersize=5, label=label)
    axis.set(xscale="log", xlabel="seconds of training, mean of a cell", ylabel="mean PCC")
    if points:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    _plain(axis)
    return figure


def maps(section: str, cells: dict[str, Cell]) -> Figure:
    """Draw the genes that have maps in all results, one row and color range per gene: measured, predictions."""
    drawn = {name: cell["test"][section] for name, cell in cells.items()}
    first = next(iter(drawn.values()))
    values: dict[str, Sequence[float]] = {}
    limits: dict[str, tuple[float, float]] = {}
    for gene in mapped_genes(section, cells):
        row = {f"{gene}\nmeasured": first["map"]["genes"][gene]["true"]}
        for name, result in drawn.items():
            pcc = result["per_gene"].get(gene)
            score = f" (PCC {pcc:.2f})" if pcc is not None else ""
            row[f"{gene}\n{name}{score}"] = result["map"]["genes"][gene]["predicted"]
        values |= row
        limits |= dict.fromkeys(row, shared_range(*row.values()))
    title = f"{section}: of {len(first['per_gene'])} genes those with the highest attainable PCC"
    return expression_maps(first["map"]["pos"], values, columns=1 + len(drawn), limits=limits, title=title)


def mapped_genes(section: str, cells: dict[str, Cell]) -> list[str]:
    """List the genes of a section that have maps in all results."""
    first, *others = (cell["test"][section]["map"]["genes"] for cell in cells.values())
    return [gene for gene in first if all(gene in maps for maps in others)]


def section_ceiling(group: Group, fold: str, section: str) -> float | None:
    """Return a section's attainable PCC, which is the same in every cell that tested it."""
    found = (
        cell["test"][section]["metrics"] for cell in group.cells if cell["fold"] == fold and section in cell["test"]
    )
    return next((value for metrics in found if (value := metrics.get("ceiling_pcc_mean")) is not None), None)


def label_of(chosen: dict[str, str]) -> str:
    """Return the name of the drawn model; the names of all if it differs between folds."""
    return " / ".join(sorted(set(chosen.values())))


def slug(name: str) -> str:
    """Convert a name to a part of a file name or a URL."""
    return re.sub(r"[^\w.-]+", "-", name)


def shrink(path: Path) -> None:
    """Reduce a picture to 256 colors, which quarters the size of many files."""
    with Image.open(path) as image, atomic_path(path) as temporary:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(temporary, optimize=True)


def _curve(cell: Cell) -> list[tuple[int, float]]:
    """Return epochs, counted from 1, and their validation PCC; result files count from 0."""
    return [(int(row["epoch"]) + 1, float(row["val/pcc"])) for row in cell["curves"] if row.get("val/pcc") is not None]


def _color(model: str, chosen: set[str], reference: str | None) -> str:
    return REFERENCE if model == reference else MODEL if model in chosen else OTHER


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _close(axes: NDArray[Any], used: int, columns: int) -> None:
    """Hide unused panels, and label the axis below the last panel of each column."""
    for axis in axes[max(0, used - columns) : used]:
        axis.tick_params(labelbottom=True)
    for axis in axes[used:]:
        axis.set_axis_off()


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
