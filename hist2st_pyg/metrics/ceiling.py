"""The correlation of a perfect prediction with the target, which is noisy because counts are few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.expression import log_expression
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.utils.rows import Floats, column_blocks, row_blocks

Integers = NDArray[np.int64]

COVERS = (
    "Attainable is the PCC of a model that knows every spot's true shares and the part of its depth that they predict. "
    "It covers counting noise only, not the limits of the image, nor differences between sections and patients. "
    "With few counts and widely varying depth, a model that reads more of the depth from the image can exceed it."
)
"""The note beside the ceiling in tables."""
DISPERSIONS = np.geomspace(1e-4, 10, 30)
"""Grid of squared coefficients of variation of a gene's share over the spots, given their depth."""
N_SHARES = 200
"""Number of genes, those with the most counts, that predict the depth."""
N_FOLDS = 5
MOST_SPOTS = 50_000
"""Largest number of spots; of a larger section as many are drawn at random, whose correlation is accurate to 0.005."""


def noise_ceiling(
    counts: ArrayLike,
    totals: ArrayLike | None = None,
    repeats: int = 10,
    seed: int = 0,
    mask: ArrayLike | None = None,
) -> Floats:
    """Estimate from the counts the PCC that a perfect prediction of each gene would have with the target.

    A perfect prediction knows every spot's true shares, and the part of its depth (the spot's total) that the shares
    predict: dense cells mean more molecules in another mixture. Its correlation is the multiple correlation of the
    target with log10(1 + 10,000 p), p the gene's true share, and with the depth as predicted by a ridge regression on
    the other genes' shares. The rest of the depth is chance and not attainable.

    The true shares are unknown and are drawn ``repeats`` times given the counts. Counts are Poisson with mean t p,
    t the depth, and p follows a gamma distribution, which is the negative binomial model of counts (Robinson and Smyth
    2008): its mean is a power of the depth, its dispersion is the gene's, with a prior that the panel's genes share
    (empirical Bayes, Robbins 1956).

    The ceiling covers counting noise only: not the limits of the image, nor differences between sections and patients.
    In simulations with standard deviations of the log depth from 0 to 0.8 the mean over a panel is within 0.02 of the
    PCC of the true shares if they are log-normal or gamma distributed, within 0.03 if they have two levels. The ceiling
    of a single gene is less certain, most of all with few spots or few counts. Noisy shares may predict less of the
    depth than an image does.

    Args:
        counts: Raw counts of the panel [N spots, G genes]; more than :data:`MOST_SPOTS` are subsampled.
        totals: Divisor of each spot's counts [N], such as its total over all genes. None: the total over the panel.
        repeats: Number of draws of the shares.
        seed: Seed of the draws.
        mask: bool [G], True for measured genes; None for all genes.

    Returns:
        float64 [G] in [0, 1]: nan if the gene's target is constant or unmeasured, 0 if the drawn shares agree with the
        target no better than by chance.

    Raises:
        ValueError: If the counts are not whole numbers from 0, ``totals`` does not fit them, ``repeats`` is not
            positive, or ``counts`` has fewer than two spots.
    """
    panel = _whole("counts", counts, 2)
    depth = panel.sum(1, dtype=np.float64)
    if totals is not None:
        totals = _whole("totals", totals, 1)
        if totals.shape != depth.shape or (totals < depth).any():
            raise ValueError(
                f"totals must have one value for each of {len(panel)} spots, not below the spot's counts of the panel; "
                f"got shape {list(totals.shape)}."
            )
        depth = totals
    if repeats < 1:
        raise ValueError(f"noise_ceiling: repeats must be 1 or more, got {repeats}.")
    measured = np.ones(panel.shape[1], dtype=bool) if mask is None else np.asarray(mask)
    if measured.shape != panel.shape[1:]:
        raise ValueError(f"mask must have one value for each of {panel.shape[1]} genes, got {list(measured.shape)}.")
    if (n := len(panel)) > MOST_SPOTS:
        some = np.sort(np.random.default_rng([seed, n]).choice(n, MOST_SPOTS, replace=False))
        panel, depth = panel[some], depth[some]
    depth = depth.astype(np.int64)[:, None]
    varies = np.zeros(panel.shape[1], dtype=bool)
    for genes in column_blocks(*panel.shape):
        target = log_expression(panel[:, genes].astype(np.int64), depth)
        varies[genes] = ~np.isnan(pearson_per_gene(target, target, measured[genes]))
    ceiling = np.full(panel.shape[1], np.nan)
    ceiling[varies] = _reached(panel[:, varies].astype(np.int64), depth, repeats, seed)
    return ceiling


def _reached(counts: Integers, depth: Integers, repeats: int, seed: int) -> Floats:
    """Each gene's multiple correlation with the predictable depth and with shares drawn given the counts [G]."""
    rng = np.random.default_rng(seed)
    known_at = _known_depth(counts, depth, rng)
    blocks = list(column_blocks(*counts.shape))
    shares = [_mean_share(counts[:, genes], depth) for genes in blocks]
    likelihood = [_likelihood(counts[:, genes], depth * share) for genes, share in zip(blocks, shares, strict=True)]
    dispersion = _dispersion(np.concatenate([np.zeros((len(DISPERSIONS), 0)), *likelihood], axis=1))
    with_depth, beyond = np.zeros((2, counts.shape[1]))
    for genes, share in zip(blocks, shares, strict=True):
        part, known, spread = counts[:, genes], known_at(genes), dispersion[genes]
        target = log_expression(part, depth)
        with_depth[genes] = by_depth = pearson_per_gene(target, known)
        for _ in range(repeats):
            # The gamma distribution is conjugate to the Poisson, so the shares given the counts follow one too.
            drawn = rng.gamma(part + 1 / spread, 1 / (depth + 1 / (spread * share)))
            expression = log_expression(drawn, np.ones_like(depth))
            common = pearson_per_gene(expression, known)
            added = (pearson_per_gene(target, expression) - by_depth * common) / np.sqrt(1 - common**2)
            beyond[genes] += added / repeats
    # Adjusted for the fitted slope, if any.
    n = len(counts)
    adjusted = np.where(with_depth == 0, 0, 1 - (1 - with_depth**2) * (n - 1) / max(n - 2, 1))
    return np.asarray(np.sqrt(np.clip(adjusted + np.maximum(beyond, 0) ** 2, 0, 1)), dtype=np.float64)


def _known_depth(counts: Integers, depth: Integers, rng: np.random.Generator) -> Callable[[slice], Floats]:
    """For some genes, each spot's log depth predicted from the others' shares; 0 if they do not predict it.

    By ridge regression on the other folds of spots. A share is linear in the counts, so its noise, unlike that of its
    logarithm, does not reveal the depth. A gene's own share is excluded, because its noise is that of the target.
    """
    x = np.log(np.maximum(depth[:, 0], 1))
    level = counts.sum(0) / depth.sum()
    kept = np.argsort(-level, kind="stable")[:N_SHARES]
    # Scaled as in correspondence analysis, so that all genes have the same noise.
    shares = (counts[:, kept] / np.maximum(depth, 1) - level[kept]) / np.sqrt(level[kept])
    penalties = np.geomspace(1e-3, 1e3, 13) * (shares**2).sum() / len(x)
    fold = rng.permutation(np.arange(len(x)) % N_FOLDS)
    predicted = np.empty((len(x), len(penalties)))
    weights = np.zeros((N_FOLDS, len(kept), len(penalties)))
    for k in np.unique(fold):
        train, held_out = fold != k, fold == k
        left, singular, right = np.linalg.svd(shares[train], full_matrices=False)
        mean = x[train].mean()
        shrunk = singular[:, None] / (singular[:, None] ** 2 + penalties)
        weights[k] = right.T @ (shrunk * (left.T @ (x[train] - mean))[:, None])
        predicted[held_out] = mean + shares[held_out] @ weights[k]
    error = ((x[:, None] - predicted) ** 2).mean(0)
    best = error.argmin()
    if error[best] >= x.var():
        return lambda genes: np.zeros_like(counts[:, genes], dtype=np.float64)
    shares *= weights[fold, :, best]  # what each gene adds to the prediction

    def at(genes: slice) -> Floats:
        known = np.repeat(predicted[:, [best]], genes.stop - genes.start, axis=1)
        among = (kept >= genes.start) & (kept < genes.stop)
        known[:, kept[among] - genes.start] -= shares[:, among]
        return known

    return at


def _mean_share(counts: Integers, depth: Integers) -> Floats:
    """Each gene's expected share at each spot's depth [N, G]: log-linear in the log depth, by Fisher scoring.

    A share that rises with the depth varies more over the spots than over those of one depth.
    """
    x = np.log(np.maximum(depth, 1))
    x = (x - x.mean()) / max(float(x.std()), 1e-9)
    level, slope = np.log(counts.sum(0) / depth.sum()), np.zeros(counts.shape[1])
    for _ in range(10):
        mean = depth * np.exp(level + slope * x)
        # Assume a dispersion of 0.3, so that the deepest spots do not dominate.
        weight = 1 / (1 + 0.3 * mean)
        residual, weight = (counts - mean) * weight, mean * weight
        # The slope has a standard normal prior, which stabilizes it for genes with few counts.
        a, b, c = weight.sum(0), (weight * x).sum(0), (weight * x**2).sum(0) + 1
        first, second = residual.sum(0), (residual * x).sum(0) - slope
        determinant = a * c - b**2
        level = level + np.clip((c * first - b * second) / determinant, -1, 1)
        slope = slope + np.clip((a * second - b * first) / determinant, -1, 1)
    return np.asarray(np.exp(level + slope * x), dtype=np.float64)


def _likelihood(counts: Integers, mean: Floats) -> Floats:
    """The log-likelihood of each gene's counts under each of :data:`DISPERSIONS` [D, G], given its expected counts."""
    from scipy.special import gammaln

    rising = np.arange(counts.max() + 1)
    return np.stack([
        (gammaln(rising + 1 / d)[counts] - gammaln(1 / d) + counts * np.log(d) - (counts + 1 / d) * np.log1p(d * mean))
        .sum(0) for d in DISPERSIONS
    ])  # fmt: skip


def _dispersion(likelihood: Floats) -> Floats:
    """Each gene's negative binomial dispersion [G], given its log-likelihood and that of the panel's other genes."""
    likelihood = np.exp(likelihood - likelihood.max(0))
    prior = np.full((len(DISPERSIONS), 1), 1 / len(DISPERSIONS))
    for _ in range(100):
        posterior = likelihood * prior
        posterior /= posterior.sum(0)
        prior = posterior.mean(1, keepdims=True)
    # The PCC of a gene with few counts is proportional to the root.
    return np.asarray((posterior * np.sqrt(DISPERSIONS)[:, None]).sum(0) ** 2, dtype=np.float64)


def _whole(name: str, values: ArrayLike, dimensions: int) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimensions, got shape {list(array.shape)}.")
    for rows in row_blocks(array):
        whole = np.isfinite(rows) & (rows >= 0) & (rows == np.floor(rows))
        if not whole.all():
            raise ValueError(f"{name} must hold whole numbers from 0 (raw counts), got {rows[~whole][0]!s}.")
    return array
