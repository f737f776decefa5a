"""Agreement of predicted with measured expression, with numpy and scipy only.

Genes with a constant target have no correlation and are left out *and counted*; genes with a constant prediction score
0, because the model found no pattern. Correlations are taken gene by gene over the spots of one section, as in Zeng et
al. (Briefings in Bioinformatics 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.expression import DETECTED_SHARE
from hist2st_pyg.utils.rows import Floats, column_blocks

Bools = NDArray[np.bool_]
Values = NDArray[Any]
"""Numbers as they are given: they become double precision a block of genes at a time."""


def pearson_per_gene(y_true: ArrayLike, y_pred: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Correlate each gene's prediction with its target over the spots (Pearson).

    Args:
        y_true: Target expression [N spots, G genes].
        y_pred: Predicted expression [N, G].
        mask: bool [G], True for measured genes (``data.gene_mask``); None for all genes.

    Returns:
        float64 [G] in [-1, 1]: nan if the target is constant over the spots or the gene was not measured, 0 if only the
        prediction is constant.

    Raises:
        ValueError: If the shapes differ, the arrays have fewer than two spots, or a value is not finite.
    """
    return _correlated(*_checked(y_true, y_pred, mask))


def _correlated(true: Values, pred: Values, measured: Bools, *, ranks: bool = False) -> Floats:
    """The correlations of checked arrays, or those of their ranks, a block of genes at a time."""
    from scipy.stats import rankdata

    if len(true) < 2:
        raise ValueError(f"A correlation needs at least 2 spots, got {len(true)}.")
    scores = np.full(true.shape[1], np.nan)
    for genes, of_true, of_pred in _blocks(true, pred):
        values = (rankdata(of_true, axis=0), rankdata(of_pred, axis=0)) if ranks else (of_true, of_pred)
        scores[genes] = _pearson(*values, measured[genes])
    return scores


def _pearson(true: Floats, pred: Floats, measured: Bools) -> Floats:
    scores = np.full(true.shape[1], np.nan)
    varies = measured & ~_constant(true)
    scored = varies & ~_constant(pred)
    scores[varies] = 0.0
    a, b = _centered(true[:, scored]), _centered(pred[:, scored])
    scores[scored] = np.clip((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)), -1, 1)
    return scores


def spearman_per_gene(y_true: ArrayLike, y_pred: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Correlate the ranks of each gene's prediction and target over the spots (Spearman); ties share their mean rank.

    Args:
        y_true: Target expression [N spots, G genes].
        y_pred: Predicted expression [N, G].
        mask: bool [G], True for measured genes; None for all genes.

    Returns:
        float64 [G] in [-1, 1], nan and 0 as in :func:`pearson_per_gene`.

    Raises:
        ValueError: If the shapes differ, the arrays have fewer than two spots, or a value is not finite.
    """
    return _correlated(*_checked(y_true, y_pred, mask), ranks=True)


def rmse(y_true: ArrayLike, y_pred: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Root mean squared error over all spots and measured genes.

    Args:
        y_true: Target expression [N spots, G genes].
        y_pred: Predicted expression [N, G].
        mask: bool [G], True for measured genes; None for all genes.

    Returns:
        The error in the target's unit; nan if no gene was measured.

    Raises:
        ValueError: If the shapes differ, the arrays hold no spot, or a value is not finite.
    """
    return float(np.sqrt(_mean_error(np.square, *_checked(y_true, y_pred, mask))))


def mae(y_true: ArrayLike, y_pred: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Mean absolute error over all spots and measured genes.

    Args:
        y_true: Target expression [N spots, G genes].
        y_pred: Predicted expression [N, G].
        mask: bool [G], True for measured genes; None for all genes.

    Returns:
        The error in the target's unit; nan if no gene was measured.

    Raises:
        ValueError: If the shapes differ, the arrays hold no spot, or a value is not finite.
    """
    return _mean_error(np.abs, *_checked(y_true, y_pred, mask))


@dataclass(frozen=True, eq=False)
class Scored:
    """A section's target and prediction, checked, and the genes' correlations.

    Args:
        true: Target expression [N spots, G genes].
        pred: Predicted expression [N, G].
        measured: bool [G], the genes that were measured.
        pcc: Pearson's correlation of each gene [G], nan where it is left out.
    """

    true: Values
    pred: Values
    measured: Bools
    pcc: Floats

    @property
    def detected(self) -> Bools:
        """The genes with a correlation that are seen in a tenth of the spots, bool [G]."""
        return np.asarray(~np.isnan(self.pcc) & ((self.true > 0).mean(axis=0) >= DETECTED_SHARE))


@dataclass(frozen=True)
class Metric:
    """A number of a section, and how a report shows it.

    Args:
        value: The number; nan if no gene gives one.
        heading: The heading of its column.
        better: 1 where more is better, -1 where less is, 0 where neither.
        meaning: What it is.
    """

    value: Callable[[Scored], float]
    heading: str
    better: int
    meaning: str


METRICS: dict[str, Metric] = {
    "pcc_mean": Metric(lambda s: _over(s.pcc, np.mean), "PCC", 1, "mean over genes, then over test sections"),
    "pcc_median": Metric(lambda s: _over(s.pcc, np.median), "median", 1, "median PCC over genes"),
    "pcc_mean_detected": Metric(
        lambda s: _over(s.pcc[s.detected], np.mean), "PCC, detected", 1, "genes seen in at least 10 % of spots"
    ),
    "spearman_mean": Metric(
        lambda s: _over(spearman_per_gene(s.true, s.pred, s.measured), np.mean),
        "Spearman",
        1,
        "mean rank correlation over genes",
    ),
    "rmse": Metric(lambda s: rmse(s.true, s.pred, s.measured), "RMSE", -1, "root mean squared error, log10 expression"),
    "mae": Metric(lambda s: mae(s.true, s.pred, s.measured), "MAE", -1, "mean absolute error, log10 expression"),
}
"""The numbers of a section's expression. A new one is one entry here: ``evaluate``, result files and reports follow."""


def summarize(
    y_true: ArrayLike, y_pred: ArrayLike, genes: Sequence[str], mask: ArrayLike | None = None
) -> dict[str, Any]:
    """Summarize one section's evaluation, including the number of genes left out.

    Args:
        y_true: Target expression [N spots, G genes].
        y_pred: Predicted expression [N, G].
        genes: The panel's G gene names.
        mask: bool [G], True for measured genes; None for all genes.

    Returns:
        Each of :data:`METRICS`, None if no gene gives it; ``n_genes`` (the panel) = ``n_scored`` + ``n_constant``
        (constant target, left out) + ``n_missing`` (not measured, left out); ``n_detected`` of those scored;
        ``n_constant_predictions`` of the scored genes score 0 because their prediction is constant; ``n_spots``;
        ``per_gene``, a dict from gene to PCC, None where left out.

    Raises:
        ValueError: If the shapes differ, the arrays have fewer than two spots, a value is not finite, or a gene is
            repeated.
    """
    names = [str(gene) for gene in genes]
    true, pred, measured = _checked(y_true, y_pred, mask)
    if len(names) != true.shape[1]:
        raise ValueError(f"genes must name the {true.shape[1]} columns of the expression, got {len(names)} names.")
    if len(set(names)) != len(names):
        raise ValueError(f"genes must be unique, got {next(n for n in names if names.count(n) > 1)!r} more than once.")
    section = Scored(true, pred, measured, _correlated(true, pred, measured))
    scored = ~np.isnan(section.pcc)
    values = {name: float(metric.value(section)) for name, metric in METRICS.items()}
    return {
        **{name: None if np.isnan(value) else value for name, value in values.items()},
        "n_genes": len(names),
        "n_scored": int(scored.sum()),
        "n_detected": int(section.detected.sum()),
        "n_constant": int((measured & ~scored).sum()),
        "n_constant_predictions": int((scored & _constant(pred)).sum()),
        "n_missing": int((~measured).sum()),
        "n_spots": len(true),
        "per_gene": {n: float(s) if ok else None for n, s, ok in zip(names, section.pcc, scored, strict=True)},
    }


def _over(scores: Floats, mean: Callable[[Floats], Any]) -> float:
    """A mean of the genes that have a score; nan if none has."""
    known = scores[~np.isnan(scores)]
    return float(mean(known)) if known.size else float("nan")


def _checked(y_true: ArrayLike, y_pred: ArrayLike, mask: ArrayLike | None) -> tuple[Values, Values, Bools]:
    """Return target, prediction and the measured genes, or raise an error."""
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 2 or true.shape != pred.shape:
        raise ValueError(
            f"y_true and y_pred must be [N spots, G genes], got shapes {list(true.shape)} and {list(pred.shape)}."
        )
    if len(true) == 0:
        raise ValueError("y_true and y_pred hold no spots.")
    measured: Bools = np.ones(true.shape[1], dtype=bool) if mask is None else np.asarray(mask)
    if measured.dtype != bool or measured.shape != true.shape[1:]:
        raise ValueError(
            f"mask must be bool [{true.shape[1]}], one value per gene (True if measured), got {measured.dtype} "
            f"{list(measured.shape)}."
        )
    # An unmeasured target may hold anything; a prediction that is not finite always means a failed model.
    for name, values, genes in (("y_true", true, measured), ("y_pred", pred, np.ones_like(measured))):
        wrong = sum(int((~np.isfinite(part[:, genes[of]])).sum()) for of, part in _blocks(values))
        if wrong:
            of_all = len(values) * int(genes.sum())
            raise ValueError(f"{name} holds {wrong} values of {of_all} that are not finite (nan or infinite).")
    return true, pred, measured


def _blocks(*arrays: Values) -> Iterator[tuple[Any, ...]]:
    """Blocks of genes: their columns, and these columns of each array in double precision."""
    for genes in column_blocks(*arrays[0].shape):
        yield genes, *(np.asarray(array[:, genes], dtype=np.float64) for array in arrays)


def _mean_error(of: Callable[[Floats], Floats], true: Values, pred: Values, measured: Bools) -> float:
    """The mean over all spots and measured genes of what ``of`` makes of the differences; nan without a gene."""
    sums = [of((b - a)[:, measured[genes]]).sum() for genes, a, b in _blocks(true, pred)]
    return float(np.sum(sums) / (len(true) * measured.sum())) if measured.any() else float("nan")


def _constant(values: Values) -> Bools:
    # The variance is unsuitable: the mean of a constant is rounded, which makes it small but not 0.
    return np.asarray(values.max(axis=0) == values.min(axis=0))


def _centered(values: Floats) -> Floats:
    """Subtract each column's mean, in an order that preserves variation of one unit in the last place."""
    _, exponent = np.frexp(np.abs(values).max(axis=0))
    values = np.ldexp(values, -exponent)  # a power of two is exact, and squares then neither overflow nor underflow
    values = values - values.min(axis=0)
    return np.asarray(values - values.mean(axis=0))
