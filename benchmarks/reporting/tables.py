"""Numbers of a group as tables: what is written, and what is sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.reporting.cells import Group, Value, metric
from benchmarks.reporting.comparison import Comparison

MAX_FOLDS = 5
"""With more folds than this, the folds' scores have a table of their own."""
NONE = "–"


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Args:
        key: Its name in the page's address (``#sort=rmse``).
        head: Its heading.
        better: 1 where more is better, -1 where less is, 0 where neither; it is sorted in that order first.
        help: What the number is.
    """

    key: str
    head: str
    better: int = 1
    help: str = ""


@dataclass(frozen=True)
class Entry:
    """A number of a table.

    Args:
        text: As it is written.
        value: What it is sorted by; None sorts last.
        interval: Low, middle and high, where the page draws them.
    """

    text: str
    value: float | None = None
    interval: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A row of a table, of one model.

    Args:
        model: The model.
        entries: One of each column.
        task: The model's task.
    """

    model: str
    entries: tuple[Entry, ...]
    task: str = "prediction"


@dataclass(frozen=True)
class Table:
    """A table of models.

    Args:
        caption: What it shows and how to read it, in a sentence or two.
        columns: The columns after the model's name.
        rows: The rows, in the order in which they are shown.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def predictions(self) -> list[Row]:
        """Rows that may be compared with each other."""
        return [row for row in self.rows if row.task == "prediction"]

    @property
    def others(self) -> list[Row]:
        """Rows of other tasks."""
        return [row for row in self.rows if row.task != "prediction"]


@dataclass(frozen=True)
class Number:
    """How a number is read and written.

    Args:
        column: Its column.
        value: Reads it from a cell.
        form: A format of one number.
        spread: Write the deviation too.
    """

    column: Column
    value: Value
    form: str = "{:.3f}"
    spread: bool = False


def main_table(group: Group) -> Table:
    """The scores a reader looks for first, one row a model, sorted by mean PCC."""
    folds = fold_columns(group) if 1 < len(group.folds) <= MAX_FOLDS else []
    over = "folds" if len(group.folds) > 1 else "seeds"
    pcc = Column("pcc_mean", "PCC", 1, f"mean PCC over genes, then over test sections; ± sd over {over}")
    numbers = [
        Number(pcc, metric("pcc_mean"), spread=True),
        Number(
            Column("share_of_ceiling", "of ceiling", 1, "share of the attainable PCC, which the counts' noise bounds"),
            _percent("share_of_ceiling"),
            "{:.0f} %",
        ),
        Number(Column("pcc_median", "median PCC", 1, "median over genes"), metric("pcc_median")),
        Number(Column("spearman_mean", "Spearman", 1, "mean rank correlation over genes"), metric("spearman_mean")),
        Number(Column("rmse", "RMSE", -1, "root mean squared error, log10 expression"), metric("rmse")),
        Number(Column("seconds_fit", "training, s", -1, "seconds of training, mean"), _seconds("fit"), "{:,.1f}"),
    ]
    kept = _known(group, numbers)
    columns = (*folds, *(n.column for n in kept), Column("cells", "cells", 1, "results there are of those expected"))
    rows = []
    for task in ("prediction", "interpolation", "diagnostic"):
        for model in group.models(task):
            entries = [*fold_entries(group, model, folds), *(_entry(group, model, n) for n in kept)]
            n_cells = len(group.of(model))
            count = Entry(f"{n_cells} of {group.n_expected}", n_cells)
            rows.append(Row(model, (*entries, count), task))
    caption = f"Mean ± sd over {over}. Columns of single folds: mean ± sd over seeds." if folds else ""
    return Table(caption or f"Mean ± sd over {over}.", columns, tuple(rows))


def fold_table(group: Group) -> Table | None:
    """Each fold's PCC, where there are too many folds for the main table."""
    if len(group.folds) <= MAX_FOLDS:
        return None
    folds = fold_columns(group)
    rows = tuple(
        Row(model, tuple(fold_entries(group, model, folds)), task)
        for task in ("prediction", "interpolation", "diagnostic")
        for model in group.models(task)
    )
    return Table("Mean PCC of each fold, mean ± sd over seeds.", tuple(folds), rows)


def more_table(group: Group) -> Table:
    """All other metrics, and what a model costs."""
    numbers = [
        Number(Column("pcc_pooled", "pooled PCC", 1, "per gene over the spots of all test sections together"), metric("pcc_pooled")),
        Number(Column("pcc_mean_detected", "PCC, detected", 1, "genes seen in at least 10 % of spots"), metric("pcc_mean_detected")),
        Number(Column("pcc_mean_variable_50", "PCC, variable 50", 1, "the 50 genes that vary most in training"), metric("pcc_mean_variable_50")),
        Number(Column("mae", "MAE", -1, "mean absolute error, log10 expression"), metric("mae")),
        Number(Column("ssim_mean", "SSIM", 1, "structural similarity of the maps"), metric("ssim_mean")),
        Number(Column("moran_predicted", "Moran's I, predicted", 0, "far above the measured value is over-smoothed"), metric("moran_predicted")),
        Number(Column("moran_true", "Moran's I, measured", 0, "of the measured maps"), metric("moran_true")),
        Number(Column("ari", "ARI", 1, "regions found in the prediction against the pathologist's"), metric("ari")),
        Number(Column("nmi", "NMI", 1, "regions found in the prediction against the pathologist's"), metric("nmi")),
        Number(Column("coverage_50", "in 50 % interval", 0, "share of counts in the predicted interval; 50 % is right"), _percent("coverage_50"), "{:.0f} %"),
        Number(Column("coverage_90", "in 90 % interval", 0, "share of counts in the predicted interval; 90 % is right"), _percent("coverage_90"), "{:.0f} %"),
        Number(Column("n_constant_predictions", "constant genes", -1, "genes predicted as a constant, which score 0"), metric("n_constant_predictions"), "{:,.1f}"),
        Number(Column("val_pcc", "validation PCC", 1, "what the epoch was chosen by"), lambda cell: cell.get("val_pcc")),
        Number(Column("chosen_epoch", "chosen epoch", 0, "mean"), lambda cell: cell.get("chosen_epoch"), "{:,.0f}"),
        Number(Column("parameters", "parameters", -1, "fitted numbers"), lambda cell: cell.get("parameters"), "{:,.0f}"),
        Number(Column("flops", "GFLOP", -1, "operations of predicting the first test section"), _giga, "{:,.2f}"),
        Number(Column("seconds_prepare", "preparing, s", -1, "reading sections and patches"), _seconds("prepare"), "{:,.1f}"),
        Number(Column("seconds_evaluate", "testing, s", -1, "prediction and all metrics"), _seconds("evaluate"), "{:,.1f}"),
        Number(Column("peak_mb", "memory, MB", -1, "largest resident memory of the process"), lambda cell: cell.get("peak_mb"), "{:,.0f}"),
    ]  # fmt: skip
    kept = _known(group, numbers)
    rows = tuple(
        Row(model, tuple(_entry(group, model, number) for number in kept), task)
        for task in ("prediction", "interpolation", "diagnostic")
        for model in group.models(task)
    )
    return Table("Means over folds of the means over seeds.", tuple(number.column for number in kept), rows)


def statistics_table(comparison: Comparison) -> Table:
    """Each model's paired difference from the reference."""
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
        p = {name: Entry(p_value(row[name]), _number(row[name])) for name in comparison.table if name.startswith("p_")}
        entries = (
            difference, p["p_bootstrap"], p["p_bootstrap_holm"], effect, p["p_wilcoxon"], p["p_wilcoxon_holm"],
            Entry(f"{row['n_sections']:.0f}", float(row["n_sections"])),
        )  # fmt: skip
        rows.append(Row(str(model), entries))
    n = int(comparison.table["n_sections"].max()) if len(comparison.table) else 0
    caption = (
        f"Difference from {comparison.reference}, per gene and section, scores averaged over seeds. The bootstrap "
        "resamples genes within these sections: a small p says that the panel's genes agree here, not that another "
        f"patient would. Wilcoxon asks whether the sections agree; with {n} of them its p cannot be below {floor(n)}."
    )
    return Table(caption, columns, tuple(rows))


def floor(n: int) -> str:
    """The smallest two-sided p of a signed-rank test of ``n`` pairs."""
    return p_value(2.0 ** (1 - n)) if n > 1 else "1"


def p_value(p: float | None) -> str:
    """A p-value as a number."""
    value = _number(p)
    if value is None:
        return NONE
    return f"{value:.4f}" if value >= 0.0001 or value == 0 else f"{value:.1e}"


def readme_rows(group: Group, comparison: Comparison | None) -> Table:
    """The README's short table: each fold, the mean, the share of the ceiling, the difference from the reference."""
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
        entries.append(_entry(group, model, Number(columns[0], _percent("share_of_ceiling"), "{:.0f} %")))
        if comparison:
            entries.append(difference_of(comparison, model))
        rows.append(Row(model, tuple(entries)))
    over = "folds" if len(group.folds) > 1 and not folds else "seeds"
    return Table(f"Mean PCC over genes, mean ± sd over {over}.", tuple(columns), tuple(rows))


def difference_of(comparison: Comparison, model: str) -> Entry:
    """A model's difference from the reference, with its interval; a dash for the reference itself."""
    if model not in comparison.table.index:
        return Entry(NONE)
    row: Any = comparison.table.loc[model]
    return _with_interval(row["mean_difference"], row["low"], row["high"], "{:+.3f}")


def fold_columns(group: Group) -> list[Column]:
    """A column of each fold."""
    single = len(group.folds) == 1
    return [
        Column(f"fold_{f}", "PCC" if single else f, 1, f"mean PCC of fold {f}, ± sd over seeds") for f in group.folds
    ]


def fold_entries(group: Group, model: str, columns: Sequence[Column]) -> list[Entry]:
    """A model's PCC in each fold, mean ± deviation over seeds, with the number of seeds where some are missing."""
    seeds = group.by_fold(model, metric("pcc_mean"))
    entries = []
    for fold, _ in zip(group.folds, columns, strict=False):
        scores = seeds.get(fold, [])
        sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        note = f" ({len(scores)} of {len(group.seeds)})" if 0 < len(scores) < len(group.seeds) else ""
        entries.append(_written(float(np.mean(scores)) if scores else None, sd, "{:.3f}", note))
    return entries


def footnotes(group: Group) -> list[tuple[str, list[str]]]:
    """What to know of an encoder's weights, each with its models."""
    notes: dict[str, list[str]] = {}
    for cell in group.cells:
        if note := cell.get("encoder_weights"):
            models = notes.setdefault(note, [])
            if cell["model"] not in models:
                models.append(cell["model"])
    return sorted(notes.items())


def _entry(group: Group, model: str, number: Number) -> Entry:
    sd = group.deviation(model, number.value) if number.spread else None
    return _written(group.mean(model, number.value), sd, number.form)


def _written(mean: float | None, sd: float | None, form: str, note: str = "") -> Entry:
    if mean is None:
        return Entry(NONE)
    return Entry(form.format(mean) + (f" ± {form.format(sd)}" if sd is not None else "") + note, mean)


def _with_interval(value: float, low: float, high: float, form: str) -> Entry:
    if _number(value) is None:
        return Entry(NONE)
    text = f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"
    return Entry(text.replace("-", "−"), float(value), (float(low), float(value), float(high)))


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _known(group: Group, numbers: Sequence[Number]) -> list[Number]:
    """Columns in which some model has a number."""
    return [number for number in numbers if any(number.value(cell) is not None for cell in group.cells)]


def _percent(name: str) -> Value:
    value = metric(name)
    return lambda cell: None if (share := value(cell)) is None else 100 * share


def _seconds(name: str) -> Value:
    return lambda cell: cell["seconds"].get(name)


def _giga(cell: dict[str, Any]) -> float | None:
    return cell["flops"] / 1e9 if cell.get("flops") else None
