"""The numbers for the page's script, small enough to embed in the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.reporting.cells import TASKS, Cell, Group, metric
from benchmarks.reporting.columns import seconds
from benchmarks.reporting.comparison import Comparison, pictured
from benchmarks.reporting.pictures import gene_ceilings, mean_genes, section_ceiling, slug

LEVELS = 99
"""A spot's value on the page is a two-digit level, 0 to 99, between the map's least and largest value."""
CURVE_POINTS = 50


def payload(group: Group, comparison: Comparison | None) -> dict[str, Any]:
    """All data that the page draws for a group.

    Args:
        group: The group.
        comparison: Its models against the reference.

    Returns:
        ``models`` in the tables' order; ``focus`` and ``reference``, which are shown first; ``sections`` with their
        measured maps; ``scores`` by model and section; ``genes`` with ``ceiling`` and ``per_gene`` in thousandths;
        ``maps`` of the first seed; ``curves`` of validation; ``cost``.
    """
    models = [model for task in TASKS for model in group.models(task)]
    reference = comparison.reference if comparison else None
    chosen, _ = pictured(group, comparison)
    ceilings = gene_ceilings(group)
    genes = sorted(ceilings)
    return {
        "id": identifier(group),
        "models": models,
        "focus": next((m for m in models if m in chosen.values()), models[0] if models else None),
        "reference": reference or (models[-1] if models else None),
        "sections": _sections(group),
        "scores": {model: _scores(group, model) for model in models},
        "genes": genes,
        "ceiling": _thousandths(ceilings, genes),
        "per_gene": {m: _thousandths(mean_genes(group, dict.fromkeys(group.folds, m)), genes) for m in models},
        "maps": {model: _maps(group, model) for model in models},
        "curves": {model: _curves(group, model) for model in models},
        "cost": {model: _cost(group, model) for model in models},
    }


def identifier(group: Group) -> str:
    """A group's anchor in the page."""
    return f"{slug(group.dataset)}-{slug(group.split)}"


def _sections(group: Group) -> dict[str, dict[str, Any]]:
    """Each test section from its first cell: positions, measured maps and ceilings are the same in every cell."""
    sections: dict[str, dict[str, Any]] = {}
    for cell in group.cells:
        for name, result in cell["test"].items():
            key = f"{cell['fold']}/{name}"
            if key not in sections:
                pos = np.asarray(result["map"]["pos"], dtype=float)
                sections[key] = {
                    "name": name,
                    "fold": cell["fold"],
                    "ceiling": _rounded(section_ceiling(group, cell["fold"], name)),
                    "pos": np.rint(pos - pos.min(0)).astype(int).ravel().tolist(),
                    "genes": {gene: _map(maps["true"]) for gene, maps in result["map"]["genes"].items()},
                }
    return dict(sorted(sections.items()))


def _scores(group: Group, model: str) -> dict[str, list[list[float]]]:
    """Seed and PCC of each cell, by section."""
    found: dict[str, list[list[float]]] = {}
    for cell in group.of(model):
        for name, result in cell["test"].items():
            if (pcc := result["metrics"].get("pcc_mean")) is not None:
                found.setdefault(f"{cell['fold']}/{name}", []).append([cell["seed"], round(pcc, 4)])
    return found


def _maps(group: Group, model: str) -> dict[str, dict[str, Any]]:
    """Predicted maps of the first seed of each fold, by section and gene."""
    found: dict[str, dict[str, Any]] = {}
    for fold in group.folds:
        for cell in group.of(model, fold)[:1]:
            for name, result in cell["test"].items():
                found[f"{fold}/{name}"] = {
                    "seed": cell["seed"],
                    "genes": {
                        gene: {**_map(maps["predicted"]), "pcc": _rounded(result["per_gene"].get(gene))}
                        for gene, maps in result["map"]["genes"].items()
                    },
                }
    return found


def _curves(group: Group, model: str) -> dict[str, list[dict[str, Any]]]:
    """Validation PCC by fold, one curve per seed, thinned to at most ``CURVE_POINTS`` points."""
    found: dict[str, list[dict[str, Any]]] = {}
    for cell in group.of(model):
        points = [[row["epoch"], round(row["val/pcc"], 3)] for row in cell["curves"] if row.get("val/pcc") is not None]
        if points:
            step = -(-len(points) // CURVE_POINTS)
            thinned = points[::step] if (len(points) - 1) % step == 0 else [*points[::step], points[-1]]
            curve = {"seed": cell["seed"], "chosen": _chosen(cell), "points": thinned}
            found.setdefault(cell["fold"], []).append(curve)
    return found


def _chosen(cell: Cell) -> list[float] | None:
    """The chosen epoch and its validation PCC."""
    epoch, pcc = cell.get("chosen_epoch"), cell.get("val_pcc")
    return None if epoch is None or pcc is None else [epoch, round(pcc, 3)]


def _cost(group: Group, model: str) -> list[float | None]:
    """Seconds of training and PCC."""
    fit, pcc = group.mean(model, seconds("fit"), per_cell=True), group.mean(model, metric("pcc_mean"))
    return [_rounded(fit), _rounded(pcc)]


def _map(values: Sequence[float]) -> dict[str, Any]:
    """A map as its least and largest value and two digits per spot."""
    numbers = np.asarray(values, dtype=float)
    low, high = float(numbers.min()), float(numbers.max())
    shares = (numbers - low) / (high - low) if high > low else np.zeros(len(numbers))
    return {
        "low": round(low, 3),
        "high": round(high, 3),
        "q": "".join(f"{int(s):02d}" for s in np.rint(LEVELS * shares)),
    }


def _thousandths(scores: dict[str, float | None], genes: Sequence[str]) -> list[int | None]:
    known = [scores.get(gene) for gene in genes]
    return [None if score is None else round(1000 * score) for score in known]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
