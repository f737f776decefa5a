"""The columns of the score tables: meaning, source and format of each number."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.reporting.cells import Cell, Value, metric
from hist2st_pyg.metrics.expression import METRICS

PERCENT = "{:.0f} %"
MAIN = ("pcc_mean", "pcc_median", "spearman_mean", "rmse")
"""The metrics in the first table."""


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Args:
        key: Its name in the page's URL (``#sort=rmse``).
        head: Its heading.
        better: 1 if higher is better, -1 if lower is, 0 if neither; determines the initial sorting.
        help: The meaning of the number.
    """

    key: str
    head: str
    better: int = 1
    help: str = ""


@dataclass(frozen=True)
class Number:
    """A column with the source and format of its numbers.

    Args:
        column: The column.
        value: Reads it from a cell.
        form: Format string of one number.
        spread: Also write the deviation.
        per_cell: Weight every fold equally, regardless of its number of test sections.
    """

    column: Column
    value: Value
    form: str = "{:.3f}"
    spread: bool = False
    per_cell: bool = False


def main_numbers(over: str) -> list[Number]:
    """Return the columns of the most important metrics.

    Args:
        over: The unit of the deviation, ``"folds"`` or ``"seeds"``.
    """
    head = "PCC, all folds" if over == "folds" else "PCC"
    pcc = _number("pcc_mean", head, 1, f"mean over genes, then over test sections; ± sd over {over}", spread=True)
    share = "share of the attainable PCC, which the counts' noise bounds"
    return [
        pcc,
        _number("share_of_ceiling", "of ceiling", 1, share, PERCENT, percent("share_of_ceiling")),
        _metric("pcc_median"),
        _metric("spearman_mean"),
        _metric("rmse"),
        _number(
            "seconds_fit", "training, s", -1, "seconds of training, mean", "{:,.1f}", seconds("fit"), per_cell=True
        ),
    ]


def more_numbers() -> list[Number]:
    """Return the columns of all other metrics, and of a model's cost."""
    regions = "regions found in the prediction against the pathologist's"
    covered = "share of counts in the predicted interval; {} % is right"
    constant = "genes predicted as a constant, which score 0"
    halves = "of two halves of the counts, each of half the depth: how far noise lets counts agree with themselves"
    flops = "billion operations of predicting the first test section"
    memory = "largest resident memory of the process"
    return [
        _number("pcc_pooled", "pooled PCC", 1, "per gene over the spots of all test sections together"),
        *(_metric(name) for name in METRICS if name not in MAIN),
        _number("pcc_mean_variable_50", "PCC, variable 50", 1, "the 50 genes that vary most in training"),
        _number("ssim_mean", "SSIM", 1, "structural similarity of the maps"),
        _number(
            "moran_predicted",
            "Moran's I, predicted",
            0,
            "1 is smooth; counting noise lowers the measured value, so compare models",
        ),
        _number("moran_true", "Moran's I, measured", 0, "of the measured maps"),
        _number("gsc", "GSC", 1, "gene structural correlation: whether the same genes go together as in the counts"),
        _number("gsc_halves", "GSC, halves", 0, halves),
        _number("ssc", "SSC", 1, "spatial structural correlation: whether the same genes have a high Moran's I"),
        _number("ssc_halves", "SSC, halves", 0, halves),
        _number("ari", "ARI, Leiden", 1, regions),
        _number("nmi", "NMI, Leiden", 1, regions),
        _number("ari_paper", "ARI, published", 1, regions + "; k-means as Zeng et al. 2022"),
        _number("nmi_paper", "NMI, published", 1, regions + "; k-means as Zeng et al. 2022"),
        _number("coverage_50", "in 50 % interval", 0, covered.format(50), PERCENT, percent("coverage_50")),
        _number("coverage_90", "in 90 % interval", 0, covered.format(90), PERCENT, percent("coverage_90")),
        _number("n_constant_predictions", "constant genes", -1, constant, "{:,.0f}"),
        _number(
            "val_pcc",
            "validation PCC",
            1,
            "PCC on what the epoch was chosen by",
            value=_field("val_pcc"),
            per_cell=True,
        ),
        _number("chosen_epoch", "chosen epoch", 0, "mean, counted from 1", "{:,.0f}", _chosen_epoch, per_cell=True),
        _number("parameters", "parameters", -1, "fitted numbers", "{:,.0f}", _field("parameters"), per_cell=True),
        _number("flops", "GFLOP", -1, flops, "{:,.3g}", _giga, per_cell=True),
        _number(
            "seconds_prepare",
            "preparing, s",
            -1,
            "reading sections and patches",
            "{:,.1f}",
            seconds("prepare"),
            per_cell=True,
        ),
        _number(
            "seconds_evaluate",
            "testing, s",
            -1,
            "prediction and all metrics",
            "{:,.1f}",
            seconds("evaluate"),
            per_cell=True,
        ),
        _number("peak_mb", "memory, MB", -1, memory, "{:,.0f}", _field("peak_mb"), per_cell=True),
    ]


def _metric(name: str) -> Number:
    described = METRICS[name]
    return _number(name, described.heading, described.better, described.meaning)


def percent(name: str) -> Value:
    """Return a function that reads a share, in percent."""
    value = metric(name)
    return lambda cell: None if (share := value(cell)) is None else 100 * share


def seconds(name: str) -> Value:
    """Return a function that reads the seconds of a stage."""
    return lambda cell: cell["seconds"].get(name)


def _number(
    key: str,
    head: str,
    better: int,
    help: str,
    form: str = "{:.3f}",
    value: Value | None = None,
    spread: bool = False,
    per_cell: bool = False,
) -> Number:
    return Number(Column(key, head, better, help), value or metric(key), form, spread, per_cell)


def _field(name: str) -> Value:
    return lambda cell: cell.get(name)


def _chosen_epoch(cell: Cell) -> float | None:
    """Return the chosen epoch counted from 1; result files count from 0."""
    return None if cell.get("chosen_epoch") is None else cell["chosen_epoch"] + 1


def _giga(cell: Cell) -> float | None:
    return cell["flops"] / 1e9 if cell.get("flops") else None
