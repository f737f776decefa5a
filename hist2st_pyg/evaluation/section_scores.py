"""Compute all scores of a model on one section."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.analysis.regions import PAPER, region_agreement
from hist2st_pyg.data.expression import totals_of
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.inference import predict_spots, require_preprocessing
from hist2st_pyg.metrics.calibration import coverage
from hist2st_pyg.metrics.ceiling import noise_ceiling
from hist2st_pyg.metrics.expression import summarize
from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i, ssim_on_grid
from hist2st_pyg.metrics.structure import gene_structure, spatial_structure, structure_of_halves
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.section import Section

logger = logging.getLogger(__name__)
Reals = NDArray[np.floating[Any]]

COVERAGE_LEVELS = (0.5, 0.9)
N_MAPS = 3


@dataclass(frozen=True, eq=False)
class SectionResult:
    """One section's scores and the expression behind them.

    Args:
        numbers: ``metrics``, ``per_gene``, ``ceiling``, ``map``; see :func:`~hist2st_pyg.evaluate`.
        target: Target expression [N spots, G genes].
        predicted: Predicted expression [N, G].
        mask: bool [G], True where the gene was measured.
    """

    numbers: dict[str, Any]
    target: Reals
    predicted: Reals
    mask: NDArray[np.bool_]


def measure_section(
    model: ExpressionModel,
    section: Section,
    *,
    device: str = "auto",
    gene_sets: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
) -> SectionResult:
    """Predict a section and compare with its counts; arguments as in :func:`~hist2st_pyg.evaluate`."""
    preprocessing = require_preprocessing(model)
    data = preprocessing.add_measured(SectionData(), section)
    counts, target, mask, size_factor = (data[key].cpu().numpy() for key in ("counts", "y", "gene_mask", "size_factor"))
    out = predict_spots(model, section, device, cache=cache, keep=_with_parameters).values
    predicted = out["expression"]

    metrics = summarize(target, predicted, preprocessing.genes, mask)
    per_gene = metrics.pop("per_gene")
    for name, genes in (gene_sets or {}).items():
        metrics[f"pcc_mean_{name}"] = mean_of(per_gene[gene] for gene in genes)
    varies = np.array([per_gene[gene] is not None for gene in preprocessing.genes])
    totals = totals_of(section, preprocessing.normalize_by)
    ceiling = noise_ceiling(counts, totals, seed=seed, mask=mask)
    metrics["ceiling_pcc_mean"] = mean_of(ceiling[varies])
    metrics["share_of_ceiling"] = _share(metrics["pcc_mean"], metrics["ceiling_pcc_mean"])
    metrics["ssim_mean"] = mean_of(ssim_on_grid(target, predicted, section.grid))
    totals = counts.sum(1, dtype=np.float64) if totals is None else totals
    metrics |= _structure(section, target, predicted, counts, totals, seed)
    metrics |= _regions(predicted, section, seed)
    covered = {}
    if getattr(model, "likelihood", None) is not None:
        covered = coverage(out, counts, size_factor, COVERAGE_LEVELS, mask)
    metrics |= {f"coverage_{100 * level:.0f}": covered.get(level) for level in COVERAGE_LEVELS}
    ceilings = {gene: _number(value) for gene, value in zip(preprocessing.genes, ceiling, strict=True)}
    numbers = {
        "metrics": metrics,
        "per_gene": per_gene,
        "ceiling": ceilings,
        "map": _map(section, ceilings, preprocessing.genes, target, predicted),
    }
    return SectionResult(numbers, target, predicted, mask)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Average the values that are not None; None if all are."""
    known = [value for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(known)) if known else None


def _with_parameters(model: ExpressionModel, out: dict[str, Tensor]) -> dict[str, Tensor]:
    likelihood = getattr(model, "likelihood", None)
    return {name: out[name] for name in ("expression", *(likelihood.parameter_names if likelihood is not None else ()))}


def _share(pcc: float | None, ceiling: float | None) -> float | None:
    return pcc / ceiling if pcc is not None and ceiling else None


def _structure(
    section: Section, target: Reals, predicted: Reals, counts: Reals, totals: NDArray[Any], seed: int
) -> dict[str, float | None]:
    edges = adjacent_edges(section.pos)
    moran_true = morans_i(target, edges)  # nan for a constant target, whose prediction is then left out
    moran_predicted = np.where(np.isnan(moran_true), np.nan, morans_i(predicted, edges))
    gsc_halves, ssc_halves = structure_of_halves(counts, totals, edges, seed)
    return {
        "moran_true": mean_of(moran_true),
        "moran_predicted": mean_of(moran_predicted),
        "gsc": _number(gene_structure(target, predicted)),
        "gsc_halves": _number(gsc_halves),
        "ssc": _number(spatial_structure(moran_true, moran_predicted)),
        "ssc_halves": _number(ssc_halves),
    }


def _regions(predicted: Reals, section: Section, seed: int) -> dict[str, float | None]:
    found: dict[str, dict[str, float] | None] = {"": None, "_paper": None}
    if section.label is not None:
        found["_paper"] = region_agreement(predicted, section.label, seed, method=PAPER)
        if importlib.util.find_spec("igraph") is None:
            logger.warning("%s: ari and nmi need Leiden: pip install 'hist2st_pyg[cluster]'", section.name)
        else:
            found[""] = region_agreement(predicted, section.label, seed)
    return {f"{name}{end}": None if of is None else of[name] for end, of in found.items() for name in ("ari", "nmi")}


def _map(
    section: Section, ceilings: Mapping[str, float | None], genes: Sequence[str], target: Reals, predicted: Reals
) -> dict[str, Any]:
    """Return maps of the genes with the highest ceiling, which are the same for every model."""
    order = sorted((-value, gene) for gene, value in ceilings.items() if value is not None)[:N_MAPS]
    return {
        "pos": _rounded(section.pos, 1),
        "genes": {
            gene: {
                name: _rounded(values[:, genes.index(gene)], 3)
                for name, values in (("true", target), ("predicted", predicted))
            }
            for _, gene in order
        },
    }


def _rounded(values: Reals, decimals: int) -> Any:
    return np.round(np.asarray(values, dtype=np.float64), decimals).tolist()


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
