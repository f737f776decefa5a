"""Calibration of a model's likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from hist2st_pyg.nn.likelihoods import likelihood_in
from hist2st_pyg.utils.rows import column_blocks


def coverage(
    out: Mapping[str, ArrayLike],
    counts: ArrayLike,
    size_factor: ArrayLike,
    levels: Sequence[float] = (0.5, 0.9),
    mask: ArrayLike | None = None,
) -> dict[float, float]:
    """Share of the counts within the central intervals of the predicted distribution.

    Counts are discrete, so an interval between quantiles holds more than its level. Instead, each count represents its
    part of the distribution, from F(y - 1) to F(y) (the randomized probability integral transform, Czado et al. 2009,
    in expectation), and contributes the share of that part between (1 - level) / 2 and (1 + level) / 2. A calibrated
    model covers the level; less means too narrow or biased, more means too wide.

    Args:
        out: A model's output with the parameters of a likelihood, each [N spots, G genes]; see
            :func:`~hist2st_pyg.losses.negative_log_likelihood`.
        counts: Raw counts [N, G].
        size_factor: The spots' size factors [N]; the zero-inflated distribution's mean is multiplied by it.
        levels: The intervals' levels, between 0 and 1.
        mask: bool [G], True for measured genes; None for all genes.

    Returns:
        The coverage of each level.

    Raises:
        ValueError: If the model has no likelihood, its parameters are not finite, a level is not between 0 and 1, or no
            gene was measured.
    """
    observed = np.asarray(counts)
    measured = np.flatnonzero(np.ones(observed.shape[1], dtype=bool) if mask is None else np.asarray(mask, dtype=bool))
    if not (len(observed) and len(measured)):
        raise ValueError("counts must hold at least one spot and one measured gene.")
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"A level must be between 0 and 1, got {level}.")
    likelihood = likelihood_in(out)
    factor = np.asarray(size_factor, dtype=np.float64)[:, None]
    covered = np.zeros(len(levels))
    for of in column_blocks(len(observed), len(measured)):
        genes = measured[of]
        parameters = {name: np.asarray(out[name])[:, genes].astype(np.float64) for name in likelihood.parameter_names}
        counted = observed[:, genes].astype(np.float64)
        below, up_to = (likelihood.cdf(parameters, until, factor) for until in (counted - 1, counted))
        if not (np.isfinite(below).all() and np.isfinite(up_to).all()):
            raise ValueError("The likelihood's parameters are not finite or out of range; did the training diverge?")
        # A count of probability 0 lies at the end of the distribution, outside every interval.
        part = np.where(up_to > below, up_to - below, 1)
        for i, level in enumerate(levels):
            low, high = (1 - level) / 2, (1 + level) / 2
            inside = np.clip(np.minimum(up_to, high) - np.maximum(below, low), 0, None)
            covered[i] += (inside / part).sum()
    return {
        float(level): float(of) for level, of in zip(levels, covered / (len(observed) * len(measured)), strict=True)
    }
