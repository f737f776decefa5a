"""The structure of a predicted expression: which genes correlate, and which follow the tissue.

Both numbers come from FLAG (Si et al. 2026, arXiv 2605.18055), which publishes no code for them. As correlations they
compare the ranking of genes by similarity and smoothness, not the level, which ``moran_true`` and ``moran_predicted``
of :func:`~hist2st_pyg.evaluate` show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.expression import log_expression
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.metrics.spatial import morans_i
from hist2st_pyg.utils.rows import Floats, column_blocks, row_blocks

DECIMALS = 12


def gene_structure(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Gene structural correlation (GSC; Si et al. 2026): whether genes correlate as measured.

    The Pearson correlation between two lists: the Pearson correlations of all pairs of genes over the spots, measured
    and predicted. A gene's correlation with itself is left out, because it is 1 in both.

    Args:
        y_true: Target expression [N spots, G genes]; pairs with a constant gene are left out.
        y_pred: Predicted expression [N, G]; a gene of constant prediction has correlation 0 with all others.

    Returns:
        In [-1, 1]: nan if fewer than three genes vary or all measured pairs correlate equally, 0 if only the predicted
        pairs do.

    Raises:
        ValueError: If the shapes differ, the arrays have fewer than two spots, or a value is not finite.
    """
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    varies = ~np.isnan(pearson_per_gene(true, pred))
    return _agreement(_pairs(true, varies), _pairs(pred, varies))


def spatial_structure(moran_true: ArrayLike, moran_predicted: ArrayLike) -> float:
    """Spatial structural correlation (SSC; Si et al. 2026): whether the same genes follow the tissue.

    The correlation over genes (Pearson) of the measured and the predicted Moran's I.

    Args:
        moran_true: Moran's I of the target [G genes], as :func:`~hist2st_pyg.metrics.spatial.morans_i` returns it;
            genes of nan (constant target) are left out.
        moran_predicted: Moran's I of the prediction [G]; nan (constant prediction) counts as 0.

    Returns:
        In [-1, 1]: nan if fewer than two genes vary or all measured genes follow the tissue equally, 0 if only the
        predicted genes do.

    Raises:
        ValueError: If the shapes differ or a value is infinite.
    """
    true, pred = np.asarray(moran_true, dtype=np.float64), np.asarray(moran_predicted, dtype=np.float64)
    if true.ndim != 1 or true.shape != pred.shape:
        raise ValueError(f"Moran's I must be one value per gene, got shapes {list(true.shape)}, {list(pred.shape)}.")
    known = ~np.isnan(true)
    return _agreement(true[known], np.where(np.isnan(pred), 0.0, pred)[known])


def structure_of_halves(
    counts: ArrayLike, totals: ArrayLike, edge_index: ArrayLike, seed: int = 0
) -> tuple[float, float]:
    """GSC and SSC between two random halves of the counts, each of half the depth.

    Correlations and Moran's I of few counts are noisy, which lowers GSC and SSC of a perfect prediction too. The halves
    show how well counts agree with themselves. They are a guide and not a bound, because a prediction has no counting
    noise.

    Args:
        counts: Raw counts [N spots, G genes].
        totals: Divisor of each spot's counts [N].
        edge_index: Edges [2, E] of Moran's I.
        seed: Seed of the halves.
    """
    whole, edges = np.asarray(counts), np.asarray(edge_index)
    others = np.asarray(totals).astype(np.int64) - whole.sum(axis=1, dtype=np.float64).astype(np.int64)
    rng = np.random.default_rng(seed)
    half = np.empty(whole.shape, dtype=np.float32)
    for genes in column_blocks(*whole.shape):
        half[:, genes] = rng.binomial(whole[:, genes].astype(np.int64), 0.5)
    others_half = rng.binomial(others, 0.5)
    first, second = (
        log_expression(part, (part.sum(axis=1) + rest).astype(np.float32)[:, None])
        for part, rest in ((half, others_half), (whole - half, others - others_half))
    )
    return gene_structure(first, second), spatial_structure(morans_i(first, edges), morans_i(second, edges))


def _pairs(values: NDArray[Any], genes: NDArray[np.bool_]) -> Floats:
    """Correlation of each pair of the genes [G (G - 1) / 2], 0 for pairs with a constant gene."""
    # Exactly 0 for constant genes without their first value, unlike without the rounded mean.
    first = values[:1, genes].astype(np.float64)
    total, products = np.zeros_like(first), np.zeros((first.size, first.size))
    for rows in row_blocks(values):
        total += (rows[:, genes] - first).sum(axis=0)
    for rows in row_blocks(values):
        centered = rows[:, genes] - first - total / len(values)
        products += centered.T @ centered
    deviation = np.sqrt(np.diag(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = np.clip(products / deviation / deviation[:, None], -1, 1)
    pairs = correlations[np.triu_indices(len(correlations), 1)]
    # Rounded, so that equal correlations do not differ in the last place.
    return np.asarray(np.nan_to_num(np.round(pairs, DECIMALS)))


def _agreement(true: Floats, pred: Floats) -> float:
    return float(pearson_per_gene(true[:, None], pred[:, None])[0]) if len(true) > 1 else float("nan")
