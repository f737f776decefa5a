"""Compare models: paired bootstrap over genes, Wilcoxon over sections, Holm's correction, effect sizes.

Scores are mappings from section to gene to PCC, or None for a gene without PCC; differences are the first model minus
the second. Only sections and genes that both models scored are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.rows import Floats

if TYPE_CHECKING:
    from pandas import DataFrame

Scores = Mapping[str, Mapping[str, float | None]]

ROUNDING = 1e-12
"""Standard deviation of correlations below which they count as equal."""


@dataclass(frozen=True)
class Difference:
    """The difference between the scores of two models.

    Args:
        mean: Difference of the mean PCC: over the genes of a section, then over sections.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p-value that it is 0.
        effect_size: Cohen's d_z over the genes of a section (mean of the differences in units of their standard
            deviation), averaged over sections; None if a section's differences are all equal and not 0.
        effect_low: Lower end of its interval.
        effect_high: Upper end.
        n_genes: Number of genes scored in any section.
        n_sections: Number of sections.
    """

    mean: float
    low: float
    high: float
    p: float
    effect_size: float | None
    effect_low: float | None
    effect_high: float | None
    n_genes: int
    n_sections: int


def paired_bootstrap(a: Scores, b: Scores, n: int = 2000, seed: int = 0, level: float = 0.95) -> Difference:
    """Compare two models by resampling the genes within each section (percentile bootstrap, Efron 1979).

    It tests whether the difference would hold for other genes of the same sections, not for other sections or patients:
    sections are not resampled, and a section's genes are strongly correlated, so that the interval is narrower than
    that of as many independent observations. :func:`wilcoxon_over_sections` tests sections.

    Args:
        a: The first model's PCC of each section and gene.
        b: The second's.
        n: Number of resamples; the p-value is at least 2 / (n + 1).
        seed: Seed of the resamples.
        level: Level of the intervals.

    Raises:
        ValueError: If no gene was scored by both models in the same section, or ``n`` or ``level`` is out of range.
    """
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"n must be 1 or more and level between 0 and 1, got n={n} and level={level}.")
    differences = _differences(a, b)
    rng = np.random.default_rng(seed)
    means, effects = np.zeros(n), np.zeros(n)
    for difference, _ in differences.values():
        resampled = difference[rng.integers(len(difference), size=(n, len(difference)))]
        means += resampled.mean(axis=1) / len(differences)
        effects += _effect(resampled) / len(differences)
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = np.quantile(means, tails)
    effect = float(np.mean([_effect(difference) for difference, _ in differences.values()]))
    effects = effects[np.isfinite(effects)]  # few genes can be resampled to a single one by chance
    effect_low, effect_high = np.quantile(effects, tails) if len(effects) else (np.nan, np.nan)
    smaller = min((means <= ROUNDING).sum(), (means >= -ROUNDING).sum())
    return Difference(
        mean=float(np.mean([difference.mean() for difference, _ in differences.values()])),
        low=float(low),
        high=float(high),
        p=float(min(1, 2 * (smaller + 1) / (n + 1))),
        effect_size=_or_none(effect),
        effect_low=_or_none(effect_low if np.isfinite(effect) else np.nan),
        effect_high=_or_none(effect_high if np.isfinite(effect) else np.nan),
        n_genes=len({gene for _, genes in differences.values() for gene in genes}),
        n_sections=len(differences),
    )


def wilcoxon_over_sections(a: Scores, b: Scores) -> float | None:
    """Two-sided p-value of Wilcoxon's signed-rank test of the sections' mean differences (Wilcoxon 1945).

    It tests whether other sections would agree, and needs many: with n sections the p-value is at least 2^(1 - n),
    0.06 for five. Sections of one patient are not independent.

    Args:
        a: The first model's PCC of each section and gene.
        b: The second's.

    Returns:
        The p-value; None with fewer than two sections, 1 if none of them differs.

    Raises:
        ValueError: If no gene was scored by both models in the same section.
    """
    from scipy.stats import wilcoxon

    means = np.array([difference.mean() for difference, _ in _differences(a, b).values()])
    if len(means) < 2:
        return None
    means[np.abs(means) <= ROUNDING] = 0
    return float(wilcoxon(means).pvalue) if means.any() else 1.0


def compare_to(
    scores: Mapping[str, Scores], reference: str, n: int = 2000, seed: int = 0, level: float = 0.95
) -> DataFrame:
    """Compare every model with a reference model.

    Args:
        scores: PCC of each model, section and gene.
        reference: The reference model.
        n: Number of resamples.
        seed: Seed of the resamples.
        level: Level of the intervals.

    Returns:
        One row per model: ``mean_difference`` (model minus reference) with ``low`` and ``high``, ``p_bootstrap``,
        ``effect_size`` with ``effect_low`` and ``effect_high``, ``n_sections``, ``p_wilcoxon``, and both p-values
        corrected for the number of models (``_holm``; Holm 1979). See :func:`paired_bootstrap` and
        :func:`wilcoxon_over_sections`; None if a number cannot be computed.

    Raises:
        ValueError: If the reference is unknown, is the only model, or shares no gene with a model.
    """
    import pandas as pd

    resolve(scores, reference, "reference")
    models = [model for model in scores if model != reference]
    if not models:
        raise ValueError(f"scores must hold another model besides {reference!r}.")
    found, over_sections = [], []
    for model in models:
        try:
            found.append(paired_bootstrap(scores[model], scores[reference], n, seed, level))
        except ValueError as error:
            raise ValueError(f"{model!r} and {reference!r}: {error}") from error
        over_sections.append(wilcoxon_over_sections(scores[model], scores[reference]))
    over_genes = [difference.p for difference in found]
    columns: dict[str, list[float | None]] = {
        "mean_difference": [difference.mean for difference in found],
        "low": [difference.low for difference in found],
        "high": [difference.high for difference in found],
        "p_bootstrap": [*over_genes],
        "p_bootstrap_holm": _holm(over_genes),
        "effect_size": [difference.effect_size for difference in found],
        "effect_low": [difference.effect_low for difference in found],
        "effect_high": [difference.effect_high for difference in found],
        "n_sections": [difference.n_sections for difference in found],
        "p_wilcoxon": over_sections,
        "p_wilcoxon_holm": _holm(over_sections),
    }
    # An object column, because a float column would convert None to nan.
    series = {
        name: pd.Series(values, index=models, dtype=object if None in values else None)
        for name, values in columns.items()
    }
    return pd.DataFrame(series).rename_axis("model")


def _differences(a: Scores, b: Scores) -> dict[str, tuple[Floats, list[str]]]:
    """Compute the differences of the genes of each common section, and return them with the genes."""
    result = {}
    for section in sorted(set(a) & set(b)):
        first, second = a[section], b[section]
        pairs = {
            gene: value - other
            for gene in sorted(set(first) & set(second))
            if (value := first[gene]) is not None and (other := second[gene]) is not None
        }
        if pairs:
            result[section] = np.array(list(pairs.values())), list(pairs)
    if not result:
        raise ValueError("No gene was scored by both models in the same section, so they cannot be compared.")
    return result


def _effect(differences: Floats) -> Floats:
    """Compute Cohen's d_z along the last axis; 0 if all differences are 0, nan if they are all equal and not 0."""
    mean = differences.mean(axis=-1)
    spread = differences.std(axis=-1, ddof=1) if differences.shape[-1] > 1 else np.zeros_like(mean)
    same = spread <= ROUNDING
    effect = mean / np.where(same, 1, spread)
    return np.asarray(np.where(same, np.where(np.abs(mean) <= ROUNDING, 0, np.nan), effect))


def _holm(p: list[float] | list[float | None]) -> list[float | None]:
    """Correct the p-values by Holm's method, skipping None."""
    from statsmodels.stats.multitest import multipletests

    known = [value for value in p if value is not None]
    corrected = iter(multipletests(known, method="holm")[1] if known else [])
    return [None if value is None else float(next(corrected)) for value in p]


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
