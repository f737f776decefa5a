"""What correlation a perfect prediction would have: counts are few, so the target itself is noisy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.metrics import pearson_per_gene

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def noise_ceiling(
    counts: ArrayLike,
    totals: ArrayLike | None = None,
    repeats: int = 10,
    seed: int = 0,
    mask: ArrayLike | None = None,
) -> Floats:
    """The PCC with the target that a perfect prediction of each gene would reach, from the counts alone.

    Every molecule is dealt to one of two halves by a fair coin (binomial thinning; halves of a Poisson count are
    independent). The PCC r of the halves' targets, averaged over the repeats, is the reliability of half the depth;
    2r / (1 + r) is that of the full depth (Spearman 1910, Brown 1910) and its square root the attainable PCC. It covers
    the noise of counting only and is approximate, because the target is a logarithm of a share.

    Args:
        counts: Raw counts of the panel [N spots, G genes].
        totals: What a spot's counts are divided by [N], where that is its total over all genes; the other genes'
            molecules are then dealt out too. None: the total over the panel.
        repeats: How often the counts are halved.
        seed: Seed of the coins.
        mask: bool [G], True where the gene was measured; all genes where None.

    Returns:
        float64 [G] in [0, 1]: nan where the gene's target is constant or it was not measured, 0 where the halves agree
        no better than by chance.

    Raises:
        ValueError: If the counts are not whole numbers from 0, ``totals`` does not fit them, ``repeats`` is not
            positive, or there are fewer than two spots.
    """
    panel = _whole("counts", counts, 2)
    others = np.zeros(len(panel), dtype=np.int64)
    if totals is not None:
        totals = _whole("totals", totals, 1)
        if totals.shape != others.shape or (totals < panel.sum(1)).any():
            raise ValueError(
                f"totals has one value for each of {len(panel)} spots, at least the spot's counts of the panel; got "
                f"shape {list(totals.shape)}."
            )
        others = totals - panel.sum(1)
    if repeats < 1:
        raise ValueError(f"noise_ceiling: repeats is at least 1, got {repeats}.")
    target = _target(panel, others)
    varies = ~np.isnan(pearson_per_gene(target, target, mask))
    rng = np.random.default_rng(seed)
    agreement = np.zeros(panel.shape[1])
    for _ in range(repeats):
        half, others_half = rng.binomial(panel, 0.5), rng.binomial(others, 0.5)
        first, second = _target(half, others_half), _target(panel - half, others - others_half)
        # A gene so rare that a half has none of it agrees with nothing.
        agreement += np.nan_to_num(pearson_per_gene(first, second)) / repeats
    agreement = np.maximum(agreement, 0)
    return np.where(varies, np.sqrt(2 * agreement / (1 + agreement)), np.nan)


def _target(counts: Integers, others: Integers) -> Floats:
    totals = counts.sum(axis=1) + others
    return np.asarray(np.log10(1 + 1e4 * counts / np.maximum(totals, 1)[:, None]))


def _whole(name: str, values: ArrayLike, dimensions: int) -> Integers:
    array = np.asarray(values)
    if array.ndim != dimensions:
        raise ValueError(f"{name} has {dimensions} dimensions, got shape {list(array.shape)}.")
    whole = np.isfinite(array) & (array >= 0) & (array == np.floor(array))
    if not whole.all():
        raise ValueError(f"{name} holds whole numbers from 0 (raw counts), got {array[~whole][0]!s}.")
    return array.astype(np.int64)
