"""Compare models with a reference by gene, and choose a variant by validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.reporting.cells import TASKS, Cell, Group, metric
from hist2st_pyg.evaluation.compare import compare_to

if TYPE_CHECKING:
    import pandas as pd

CHOSEN = "hist2st, chosen by validation"
"""Name of the row that uses, in each fold, the hist2st variant with the highest validation PCC."""

Scores = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Comparison:
    """The comparison of each model with the reference.

    Args:
        reference: The reference model.
        table: One row per model, from :func:`~hist2st_pyg.evaluation.compare.compare_to`; with a row ``CHOSEN`` if the
            choice differs between folds.
        chosen: The variant that validation chooses in each fold; empty if a fold has no validated variant.
        row: The row of ``table`` with the choice; None without one.
    """

    reference: str
    table: pd.DataFrame
    chosen: dict[str, str]
    row: str | None


def compared(group: Group, reference: str) -> Comparison | None:
    """Compare every predicting model of a group with the reference; None if it is missing or the only model."""
    if reference not in group.models():
        return None
    baseline = gene_scores(group, dict.fromkeys(group.folds, reference))
    scores = {model: gene_scores(group, dict.fromkeys(group.folds, model)) for model in group.models()}
    chosen = choose_variants(group)
    row = None
    if chosen:
        row = CHOSEN if len(set(chosen.values())) > 1 else next(iter(chosen.values()))
        scores[row] = gene_scores(group, chosen)
    # In a running grid, a model and the reference may not share a result yet.
    scores = {model: sections for model, sections in scores.items() if set(sections) & set(baseline)}
    if set(scores) == {reference}:
        return None
    return Comparison(reference, compare_to(scores, reference), chosen, row)


def gene_scores(group: Group, model_of: dict[str, str]) -> Scores:
    """Compute the PCC of each test section's genes, mean over seeds.

    Args:
        group: The results.
        model_of: The model of each fold.

    Returns:
        Gene to PCC by ``<fold>/<section>``; None if no seed scored the gene.
    """
    seeds: dict[str, list[dict[str, float | None]]] = {}
    for fold, model in model_of.items():
        for cell in group.of(model, fold):
            for section, result in cell["test"].items():
                seeds.setdefault(f"{fold}/{section}", []).append(result["per_gene"])
    return {section: mean_over(per_gene) for section, per_gene in seeds.items()}


def mean_over(scores: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Average each gene's known scores; None without any."""
    genes = dict.fromkeys(gene for score in scores for gene in score)
    known = {gene: [s for score in scores if (s := score.get(gene)) is not None] for gene in genes}
    return {gene: float(np.mean(values)) if values else None for gene, values in known.items()}


def mean_genes(group: Group, model_of: dict[str, str]) -> dict[str, float | None]:
    """Compute each gene's PCC, averaged over seeds, then over test sections."""
    return mean_over(list(gene_scores(group, model_of).values()))


def gene_ceilings(group: Group) -> dict[str, float | None]:
    """Compute each gene's attainable PCC, mean over test sections."""
    sections = {
        (cell["fold"], name): result["ceiling"] for cell in group.cells for name, result in cell["test"].items()
    }
    return mean_over(list(sections.values()))


def gene_table(group: Group) -> pd.DataFrame:
    """Tabulate each gene's attainable PCC and its PCC in every model, averaged over seeds, then over test sections."""
    import pandas as pd

    models = [model for task in TASKS for model in group.models(task)]
    scores = {model: mean_genes(group, dict.fromkeys(group.folds, model)) for model in models}
    table = pd.DataFrame({"attainable PCC": gene_ceilings(group), **scores}, dtype=float)
    return table.sort_index().rename_axis("gene")


def choose_variants(group: Group) -> dict[str, str]:
    """Choose the hist2st variant with the highest validation PCC in each fold, without the test score.

    Each fold has its own choice, because one fold's validation patients are another fold's test patients. The result is
    empty if a fold has no hist2st variant with a validation PCC.
    """
    variants = [model for model in group.models() if is_variant(group.of(model)[0])]
    chosen: dict[str, str] = {}
    for fold in group.folds:
        means = {
            model: float(np.mean(seeds[fold]))
            for model in sorted(variants)
            if fold in (seeds := group.by_fold(model, lambda cell: cell.get("val_pcc")))
        }
        if not means:
            return {}
        chosen[fold] = max(means, key=lambda model: means[model])
    return chosen


def is_variant(cell: Cell) -> bool:
    """Whether a cell's model is a hist2st."""
    return bool(cell["config"]["model"]["name"] == "hist2st")


def mean_of_chosen(group: Group, chosen: dict[str, str], name: str) -> float | None:
    """Average a metric of the chosen variants over seeds, then over test sections; None if a fold lacks it."""
    value = metric(name)
    seeds = {fold: group.by_fold(model, value).get(fold, []) for fold, model in chosen.items()}
    if not all(seeds.values()):
        return None
    weights = [len(group.of(model, fold)[0]["test"]) for fold, model in chosen.items()]
    return float(np.average([np.mean(numbers) for numbers in seeds.values()], weights=weights))


def pictured(group: Group, comparison: Comparison | None) -> tuple[dict[str, str], str]:
    """Choose the model to draw in each fold, and return it with the reason.

    The choice is the variant with the best validation, otherwise the model with the highest test PCC besides the
    reference, otherwise none.
    """
    if chosen := choose_variants(group):
        return chosen, "the hist2st variant with the highest validation PCC"
    others = [model for model in group.models() if comparison is None or model != comparison.reference]
    picked = dict.fromkeys(group.folds, others[0]) if others else {}
    return picked, "the model with the highest test PCC (no hist2st variant has a validation PCC)"
