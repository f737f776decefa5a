"""Compute a model's confidence from its likelihood, and compare it with measured counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hist2st_pyg import figures
from hist2st_pyg.analysis.predictions import background_of, expression_of, file_of, measured_counts, name_of
from hist2st_pyg.metrics.calibration import coverage
from hist2st_pyg.nn.likelihoods import LIKELIHOODS, ZINB
from hist2st_pyg.nn.zero_inflated import from_moments
from hist2st_pyg.section import Section
from hist2st_pyg.utils.rows import Floats

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame


LAYERS = ("mean", "sd")
ZERO_LAYER = "zero_probability"
SMALLEST_MEAN = 1e-12
"""Mean of counts that are almost certainly 0, which single precision may round to 0."""
MAPS = {
    "confidence": ("confidence", "1 − mean rank of sd / mean"),
    "cv": ("spread of the counts", "sd / mean, median over genes"),
    "excess_cv": ("spread beyond counting noise", "sd / mean, median over genes"),
    ZERO_LAYER: ("zero counts", "probability, mean over genes"),
}
"""The title and the unit of each map of :func:`spot_confidence`."""


def spot_confidence(adata: AnnData) -> DataFrame:
    """Compute the model's confidence in each spot, relative to the section's other spots.

    A gene's coefficient of variation, sd / mean, is the relative width of its predicted counts. Counting noise makes it
    large for rare genes, so genes cannot be averaged directly; instead, spots are ranked within each gene, and the
    ranks averaged. The model rates itself: it accounts neither for unseen tissue nor for errors of its mean, and its
    confidence is low where few counts are expected. :func:`check_confidence` compares it with the errors.

    Args:
        adata: A prediction with the layers ``mean`` and ``sd``.

    Returns:
        By spot: ``confidence``, from 0 to 1, one minus the mean rank of the coefficient of variation over the genes
        (0.5 everywhere if genes do not agree); ``cv``, the median coefficient of variation over the genes;
        ``excess_cv``, the same without counting noise (Poisson);
        ``zero_probability``, the mean over the genes, if the prediction has that layer.

    Raises:
        ValueError: If the prediction has no likelihood or fewer than two spots, or a layer is out of range.
    """
    import pandas as pd
    from scipy.stats import rankdata

    mean, sd = _moments(adata)
    if adata.n_obs < 2:
        raise ValueError("Confidence ranks spots against each other, but the prediction has one spot.")
    variation = sd / mean
    ranks = (rankdata(variation, axis=0) - 1) / (adata.n_obs - 1)
    excess = np.sqrt(np.maximum(sd**2 - mean, 0)) / mean
    table = pd.DataFrame(
        {
            "confidence": 1 - ranks.mean(axis=1),
            "cv": np.median(variation, axis=1),
            "excess_cv": np.median(excess, axis=1),
        },
        index=adata.obs_names,
    )
    if ZERO_LAYER in adata.layers:
        table[ZERO_LAYER] = expression_of(adata, ZERO_LAYER).mean(axis=1)
    return table


def check_confidence(
    adata: AnnData, measured: AnnData | Section, levels: Sequence[float] = (0.5, 0.9)
) -> dict[str, float]:
    """Check the width of the predicted distribution, for spots of high and of low confidence.

    Args:
        adata: A prediction with the layers ``mean``, ``sd`` and optionally ``zero_probability``.
        measured: The same section's raw counts; spots and genes are joined by their names.
        levels: Levels of the intervals.

    Returns:
        ``coverage_50``, ...: the share of the counts in the central intervals, see
        :func:`~hist2st_pyg.metrics.calibration.coverage`, of all spots; ``coverage_50_more_sure`` and
        ``coverage_50_less_sure``, ...: of the spots above the median ``confidence`` and of the others. If both are near
        the level, the confidence is calibrated; if coverage is lower for less confident spots, the model underestimates
        their uncertainty. A spot's size factor is its measured total over the median spot's.

    Raises:
        ValueError: If the prediction has no likelihood, or shares too few spots or genes with the measurement.
    """
    predicted, shared = measured_counts(adata, measured)
    counts = np.asarray(shared.X)
    totals = counts.sum(axis=1)
    if not np.median(totals) > 0:
        raise ValueError(
            "The median spot has no counts of the predicted genes; check that section and panel belong together."
        )
    likelihood = likelihood_of(predicted)
    sure = spot_confidence(adata).loc[predicted.obs_names, "confidence"].to_numpy()
    more = sure > np.median(sure)
    result: dict[str, float] = {}
    for end, spots in (("", np.ones(len(sure), dtype=bool)), ("_more_sure", more), ("_less_sure", ~more)):
        if spots.any():
            out = {name: values[spots] for name, values in likelihood.items()}
            covered = coverage(out, counts[spots], (totals / np.median(totals))[spots], levels)
            result |= {f"coverage_{100 * level:g}{end}": share for level, share in covered.items()}
    return result


def draw_confidence(adata: AnnData, folder: str | Path, table: DataFrame | None = None) -> Path:
    """Draw the maps of :func:`spot_confidence`, ``<name>_confidence.png``.

    Args:
        adata: A prediction with the layers ``mean`` and ``sd``.
        folder: Folder of the picture.
        table: The result of :func:`spot_confidence`; None computes it.
    """
    table = spot_confidence(adata) if table is None else table
    shown = {name: about for name, about in MAPS.items() if name in table}
    figure = figures.expression_maps(
        adata.obsm["spatial"],
        {title: table[name].to_numpy() for name, (title, _) in shown.items()},
        **background_of(adata),
        unit=dict(shown.values()),
        title=f"{name_of(adata)}: the model's confidence in its prediction, over {adata.n_vars} genes",
    )
    return figures.save(figure, Path(folder) / f"{file_of(adata)}_confidence.png")


def _moments(adata: AnnData) -> tuple[Floats, Floats]:
    if missing := [layer for layer in LAYERS if layer not in adata.layers]:
        raise ValueError(
            f"The prediction has no layer {missing[0]!r}, which needs a model with a likelihood (one of "
            f"{', '.join(LIKELIHOODS)})."
        )
    mean, sd = (expression_of(adata, layer) for layer in LAYERS)
    if not (np.isfinite(mean).all() and np.isfinite(sd).all() and (mean >= 0).all() and (sd >= 0).all()):
        raise ValueError("The layers mean and sd must be finite and not negative; the training may have diverged.")
    mean = np.maximum(mean, SMALLEST_MEAN)
    return mean, np.maximum(sd, np.sqrt(mean))  # the variance of counts is at least that of Poisson counts


def likelihood_of(adata: AnnData) -> dict[str, Floats]:
    """Compute the zero-inflated negative binomial of a prediction: ``mean``, ``dispersion``, ``dropout``, each [N, G].

    The three layers determine its three parameters, see :func:`~hist2st_pyg.nn.zero_inflated.from_moments`. Without the
    layer ``zero_probability`` the dropout is 0.

    Args:
        adata: A prediction with the layers ``mean`` and ``sd``.

    Raises:
        ValueError: If the prediction has no likelihood, or a layer is out of range.
    """
    mean, sd = map(torch.from_numpy, _moments(adata))
    zero = torch.from_numpy(expression_of(adata, ZERO_LAYER)) if ZERO_LAYER in adata.layers else None
    found = from_moments(mean, sd**2, zero)
    return {name: values.cpu().numpy() for name, values in zip(ZINB.parameter_names, found, strict=True)}
