"""Evaluate a model on measured sections: numbers and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from hist2st_pyg import figures
from hist2st_pyg.data.expression import expression_target, panel_counts
from hist2st_pyg.inference import THUMBNAIL, predict_section, require_recipe
from hist2st_pyg.metrics import summarise
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.section import Section

AVERAGED = ("pcc_mean", "pcc_median", "rmse", "mae")


def evaluate(
    model: ExpressionModel,
    sections: Sequence[Section],
    *,
    figures: str | Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Predict each section and compare with its counts.

    Args:
        model: A trained model with its recipe.
        sections: Measured sections; the model should not have seen them, and those it has are named in the result.
        figures: Folder for pictures of each section (true and predicted maps of the best genes, histogram of PCC).
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...

    Returns:
        ``pcc_mean``, ``pcc_median``, ``rmse``, ``mae`` averaged over the sections; ``sections``, for each its own
        numbers with ``per_gene`` (see :func:`~hist2st_pyg.metrics.summarise`); ``seen_in_training``, the sections that
        the model was trained or selected on.

    Raises:
        ValueError: If there are no sections.
    """
    if not sections:
        raise ValueError("There are no sections to evaluate.")
    recipe = require_recipe(model)
    results: dict[str, dict[str, Any]] = {}
    for section in tqdm(sections, desc="sections", leave=False, disable=None):
        predicted = np.asarray(predict_section(model, section, device).X)
        counts, mask = panel_counts(section, recipe.genes)
        target = expression_target(section, counts, recipe.total)
        results[section.name] = summarise(target, predicted, recipe.genes, mask)
        if figures is not None:
            _draw(section, target, predicted, recipe.genes, results[section.name], Path(figures))
    seen = {name.split("/", 1)[1] for part in model.training_sections.values() for name in part}
    return {
        **{metric: _average([result[metric] for result in results.values()]) for metric in AVERAGED},
        "seen_in_training": sorted(seen & set(results)),
        "sections": results,
    }


def _average(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _draw(
    section: Section, target: Any, predicted: Any, genes: Sequence[str], result: dict[str, Any], folder: Path
) -> None:
    pcc = np.array([result["per_gene"][gene] for gene in genes], dtype=float)
    image = section.require_image()
    thumbnail = image.thumbnail(THUMBNAIL)
    maps = figures.true_and_predicted(
        section.pos, target, predicted, genes, pcc, image=thumbnail, image_scale=thumbnail.shape[1] / image.size[0]
    )
    figures.save(maps, folder / f"{section.name}_maps.png")
    figures.save(figures.pcc_histogram(pcc, section.name), folder / f"{section.name}_pcc.png")
