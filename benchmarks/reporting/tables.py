"""Build the tables of a group's numbers, with text and the values to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.reporting.cells import TASKS, Group, metric
from benchmarks.reporting.columns import PERCENT, Column, Number, main_numbers, more_numbers, percent
from benchmarks.reporting.comparison import Comparison
from hist2st_pyg.metrics.ceiling import COVERS

MAX_FOLDS = 5
"""Largest number of folds in the main table; more have a separate table."""
HEADLINE = ("pcc_mean", "share_of_ceiling")
"""The columns before those of the folds."""
NONE = "–"


@dataclass(frozen=True)
class Entry:
    """A number of a table.

    Args:
        text: The text of the cell.
        value: The value to sort by; None sorts last.
        interval: Low, middle and high, if the page draws them.
    """

    text: str
    value: float | None = None
    interval: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A model's row of a table.

    Args:
        model: The model.
        entries: One per column.
        task: The model's task.
    """

    model: str
    entries: tuple[Entry, ...]
    task: str = "prediction"


@dataclass(frozen=True)
class Table:
    """A table of models.

    Args:
        caption: One or two sentences that explain the table.
        columns: The columns after the model's name.
        rows: The rows in their order on the page.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def predictions(self) -> list[Row]:
        """The rows of predictions, which are comparable with each other."""
        return [row for row in self.rows if row.task == "prediction"]

    @property
    def others(self) -> list[Row]:
        """The rows of other tasks."""
        return [row for row in self.rows if row.task != "prediction"]


def main_table(group: Group) -> Table:
    """Build the table of the most important scores, one row per model, sorted by mean PCC."""
    folds = fold_columns(group) if 1 < len(group.folds) <= MAX_FOLDS else []
    over = "folds" if len(group.folds) > 1 else "seeds"
    kept = _known(group, main_numbers(over))
    front = [n for n in kept if n.column.key in HEADLINE]
    rest = [n for n in kept if n.column.key not in HEADLINE]
    count = Column("cells", "cells", 1, "results there are of those expected")
    columns = (*(n.column for n in front), *folds, *(n.column for n in rest), count)
    rows = []
    for task in TASKS:
        for model in group.models(task):
            before, after = ([_entry(group, model, n) for n in numbers] for numbers in (front, rest))
            n_cells = len(group.of(model))
            there = Entry(f"{n_cells} of {group.n_expected}", n_cells)
            rows.append(Row(model, (*before, *fold_entries(group, model, folds), *after, there), task))
    caption = f"PCC is the mean over genes, then over test sections; ± sd over {over}."
    if folds:
        caption += " Single folds: mean ± sd over seeds."
    if any(column.key == "share_of_ceiling" for column in columns):
        caption += f" {COVERS}"
    return Table(caption, columns, tuple(rows))


def fold_table(group: Group) -> Table | None:
    """Build the table of each fold's PCC, if the folds are too many for the main table."""
    if len(group.folds) <= MAX_FOLDS:
        return None
    folds = fold_columns(group)
    rows = tuple(
        Row(model, tuple(fold_entries(group, model, folds)), task) for task in TASKS for model in group.models(task)
    )
    return Table("Mean PCC of each fold, mean ± sd over seeds.", tuple(folds), rows)


def more_table(group: Group) -> Table:
    """Build the table of all other metrics and of the cost."""
    kept = _known(group, more_numbers())
    rows = tuple(
        Row(model, tuple(_entry(group, model, number) for number in kept), task)
        for task in TASKS
        for model in group.models(task)
    )
    return Table(
        "Means over test sections and seeds; validation, epochs and costs: means over cells.",
        tuple(number.column for number in kept),
        rows,
    )


def statistics_table(comparison: Comparison) -> Table:
    """Build the table of each model's paired difference from the reference."""
    columns = (
        Column("difference", "difference in PCC [95 %]", 1, "of the mean PCC over genes and sections, paired"),
        Column("p_bootstrap", "p, genes", -1, "paired bootstrap over genes within sections"),
        Column("p_bootstrap_holm", "Holm", -1, "the same, Holm-corrected over the models"),
        Column("effect_size", "effect size [95 %]", 1, "Cohen's d of the paired differences over genes"),
        Column("p_wilcoxon", "p, sections", -1, "Wilcoxon signed-rank over sections"),
        Column("p_wilcoxon_holm", "Holm", -1, "the same, Holm-corrected over the models"),
        Column("n_sections", "sections", 0, "test sections that both predicted"),
    )
    rows = []
    for model, row in comparison.table.sort_values("mean_difference", ascending=False).iterrows():
        difference = _with_interval(row["mean_difference"], row["low"], row["high"], "{:+.3f}")
        effect = _with_interval(row["effect_size"], row["effect_low"], row["effect_high"], "{:+.2f}")
        over_genes = [Entry(p_value(row[name]), row[name]) for name in ("p_bootstrap", "p_bootstrap_holm")]
        over_sections = [Entry(p_value(row[name]), row[name]) for name in ("p_wilcoxon", "p_wilcoxon_holm")]
        n = Entry(f"{row['n_sections']:.0f}", float(row["n_sections"]))
        rows.append(Row(str(model), (difference, *over_genes, effect, *over_sections, n)))
    most = int(comparison.table["n_sections"].max())
    caption = (
        f"Difference from {comparison.reference}, per gene and section, scores averaged over seeds. The bootstrap "
        "resamples genes within these sections: a small p says that the panel's genes agree here, not that another "
        f"patient would. Wilcoxon asks whether the sections agree; with {most} its p is at least {floor(most)}."
    )
    return Table(caption, columns, tuple(rows))


def floor(n: int) -> str:
    """Format the smallest two-sided p of a signed-rank test of ``n`` pairs."""
    return p_value(2.0 ** (1 - n)) if n > 1 else "1"


def p_value(p: float | None) -> str:
    """Format a p-value."""
    if p is None:
        return NONE
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.1e}"


def readme_rows(group: Group, comparison: Comparison | None) -> Table:
    """Build the short table: each fold, mean, share of the ceiling, difference from the reference."""
    folds = fold_columns(group) if len(group.folds) <= MAX_FOLDS else []
    columns = [*folds]
    if len(group.folds) > 1:
        columns.append(Column("pcc_mean", f"all {len(group.folds)} folds"))
    columns.append(Column("share_of_ceiling", "of ceiling"))
    name = comparison.reference if comparison else ""
    if comparison:
        columns.append(Column("difference", f"difference from `{name}` [95 %]"))
    rows = []
    for model in group.models():
        entries = fold_entries(group, model, folds)
        if len(group.folds) > 1:
            pcc = Number(columns[0], metric("pcc_mean"), spread=not folds)
            entries.append(_entry(group, model, pcc))
        entries.append(_entry(group, model, Number(columns[0], percent("share_of_ceiling"), PERCENT)))
        if comparison:
            entries.append(difference_of(comparison, model))
        rows.append(Row(model, tuple(entries)))
    over = "folds" if len(group.folds) > 1 and not folds else "seeds"
    caption = f"PCC is the mean over genes, then over test sections; ± sd over {over}. {COVERS}"
    return Table(caption, tuple(columns), tuple(rows))


def difference_of(comparison: Comparison, model: str) -> Entry:
    """Format a model's difference from the reference, with its interval; a dash for the reference itself."""
    if model not in comparison.table.index:
        return Entry(NONE)
    row: Any = comparison.table.loc[model]
    return _with_interval(row["mean_difference"], row["low"], row["high"], "{:+.3f}")


def fold_columns(group: Group) -> list[Column]:
    """Return one column per fold."""
    head = "PCC" if len(group.folds) == 1 else "fold {}"
    return [Column(f"fold_{f}", head.format(f), 1, f"mean PCC of fold {f}, ± sd over seeds") for f in group.folds]


def fold_entries(group: Group, model: str, columns: Sequence[Column]) -> list[Entry]:
    """Format a model's PCC in each fold, mean ± deviation over seeds, with the number of seeds if some are missing."""
    seeds = group.by_fold(model, metric("pcc_mean"))
    entries = []
    for fold, _ in zip(group.folds, columns, strict=False):
        scores = seeds.get(fold, [])
        sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        note = f" (n={len(scores)})" if 0 < len(scores) < len(group.seeds) else ""
        entries.append(written(float(np.mean(scores)) if scores else None, sd, "{:.3f}", note))
    return entries


def footnotes(group: Group) -> list[tuple[str, list[str]]]:
    """Collect the notes on the encoders' weights, each with its models."""
    notes: dict[str, list[str]] = {}
    for cell in group.cells:
        if note := cell.get("encoder_weights"):
            models = notes.setdefault(note, [])
            if cell["model"] not in models:
                models.append(cell["model"])
    return sorted(notes.items())


def _entry(group: Group, model: str, number: Number) -> Entry:
    sd = group.deviation(model, number.value) if number.spread else None
    return written(group.mean(model, number.value, number.per_cell), sd, number.form)


def written(mean: float | None, sd: float | None, form: str, note: str = "") -> Entry:
    """Format a mean ± its deviation, if any."""
    if mean is None:
        return Entry(NONE)
    text = form.format(mean) + (f" ± {form.format(sd)}" if sd is not None else "") + note
    return Entry(text.replace("-", "−"), mean)


def _with_interval(value: float | None, low: float | None, high: float | None, form: str) -> Entry:
    if value is None or low is None or high is None:
        return Entry(NONE)
    text = f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"
    return Entry(text.replace("-", "−"), float(value), (float(low), float(value), float(high)))


def _known(group: Group, numbers: Sequence[Number]) -> list[Number]:
    """Select the columns with a number of at least one model."""
    return [number for number in numbers if any(number.value(cell) is not None for cell in group.cells)]
