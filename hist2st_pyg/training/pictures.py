"""Pictures of a training run: its curves and a map of its predictions."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

from hist2st_pyg import figures
from hist2st_pyg.data.masks import validation_spots
from hist2st_pyg.inference.section_parts import expression_at
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.loggers import METRICS
from hist2st_pyg.utils.warn_on_error import warn_on_error

logger = logging.getLogger(__name__)
PARTS = {"validation": "the spots that validated", "training": "what the model was trained on"}
"""Descriptions of the spots that a map shows, by the name of the map."""


def draw_training(folder: Path, model: ExpressionModel, datamodule: SectionDataModule) -> dict[str, Path]:
    """Draw a run's curves and a map of its best genes; log a warning if a picture cannot be drawn.

    Args:
        folder: The run folder, with its ``metrics.csv``.
        model: The chosen model.
        datamodule: The data it was trained on.

    Returns:
        The pictures by name: ``curves``, and a map of the best genes. The map is ``validation`` (the held-out spots of
        the first validation section) or, without validation, ``training`` (a section that the model was trained on).
    """
    pictures: dict[str, Path] = {}
    if (folder / METRICS).exists():  # closed-form models have none
        with warn_on_error(logger, "The training's curves could not be drawn"):
            pictures["curves"] = _curves(folder)
    part = "val" if datamodule.sections["val"] else "train"
    name = "validation" if datamodule.validates else "training"
    with warn_on_error(logger, f"The map of section {datamodule.sections[part][0].name!r} could not be drawn"):
        pictures[name] = _map(folder / "figures" / f"{name}.png", part, model, datamodule)
    return pictures


def _curves(folder: Path) -> Path:
    with (folder / METRICS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return figures.save(figures.training_curves(rows), folder / "figures" / "curves.png")


def _map(path: Path, part: str, model: ExpressionModel, datamodule: SectionDataModule) -> Path:
    """The best genes of the first section of a part."""
    cut, section = datamodule.parts(part)[0], datamodule.sections[part][0]
    where = validation_spots(cut.data)
    genes = datamodule.preprocessing.genes
    measured, predicted = cut.measured_at(where), expression_at(model, cut, where).cpu().numpy()
    true = measured.y.cpu().numpy()
    pcc = pearson_per_gene(true, predicted, measured.gene_mask.cpu().numpy())
    maps = figures.true_and_predicted(
        cut.data.pos[where].cpu().numpy(),
        true,
        predicted,
        genes,
        pcc,
        **figures.section_background(section),
        name=section.name,
        where=PARTS[path.stem],
    )
    return figures.save(maps, path)
