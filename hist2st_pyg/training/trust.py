"""The validation score of each gene of a trained model."""

from __future__ import annotations

import numpy as np
import torch

from hist2st_pyg.data.expression import DETECTED_SHARE, totals_of
from hist2st_pyg.data.masks import training_spots, validation_spots
from hist2st_pyg.inference.section_parts import expression_at
from hist2st_pyg.metrics.ceiling import noise_ceiling
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.saved import GeneTrust
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.utils.rows import Floats


def gene_trust(model: ExpressionModel, datamodule: SectionDataModule) -> GeneTrust:
    """Compute each gene's validation PCC and noise ceiling, and whether it is detected in training.

    Args:
        model: The trained model.
        datamodule: The sections that it was trained and validated on.

    Returns:
        Columns with one value per gene: ``val_pcc``, the PCC over a section's validation spots, and ``val_ceiling``,
        the :func:`~hist2st_pyg.metrics.ceiling.noise_ceiling` of the same spots, both means over the sections that
        measured the gene, None without such sections or validation; ``detected``, True if at least a tenth of the
        training spots have counts of the gene.
    """
    pcc, ceiling = _validated(model, datamodule)
    train = datamodule.parts("train")
    pieces = (piece for section in train for piece in section.measured())
    counted = sum((piece.counts[training_spots(piece)] > 0).sum(0) for piece in pieces)
    n_spots = sum(int(training_spots(section.data).sum()) for section in train)
    return {
        "val_pcc": _plain(pcc),
        "val_ceiling": _plain(ceiling),
        "detected": [bool(n >= DETECTED_SHARE * n_spots) for n in torch.as_tensor(counted).tolist()],
    }


def _validated(model: ExpressionModel, datamodule: SectionDataModule) -> tuple[Floats, Floats]:
    parts: list[list[Floats]] = [[], []]
    sections = datamodule.sections["val"] or datamodule.sections["train"]
    for cut, section in zip(datamodule.validation_parts(), sections, strict=False):
        rows = validation_spots(cut.data)
        if int(rows.sum()) < 2:
            continue
        data = cut.measured_at(rows)
        predicted = expression_at(model, cut, rows).cpu().numpy()
        mask = data.gene_mask.reshape(-1).cpu().numpy()
        totals = totals_of(section, datamodule.preprocessing.normalize_by)
        parts[0].append(pearson_per_gene(data.y.cpu().numpy(), predicted, mask))
        parts[1].append(
            noise_ceiling(data.counts.cpu().numpy(), None if totals is None else totals[rows.cpu().numpy()], mask=mask)
        )
    n_genes = len(datamodule.preprocessing.genes)
    pcc, ceiling = (_mean(np.array(part).reshape(-1, n_genes)) for part in parts)
    return pcc, ceiling


def _mean(values: Floats) -> Floats:
    """Average over sections, ignoring missing values."""
    known = np.isfinite(values)
    return np.where(known.any(0), np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)


def _plain(values: Floats) -> list[float | bool | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]
