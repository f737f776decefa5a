"""The score that selects epochs and settings, and the cross-validation that replaces missing validation spots."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.masks import training_spots, validation_spots
from hist2st_pyg.data.targets import denoise_targets
from hist2st_pyg.metrics.expression import pearson_per_gene

MOST_FOLDS = 5
"""Largest number of cross-validation folds."""


def section_pcc(predicted: ArrayLike, data: Data) -> float:
    """Compute the mean PCC over the genes of a section; nan if every gene is constant.

    Args:
        predicted: Predicted expression of the validation spots [n, G].
        data: The section.
    """
    true = data.y[validation_spots(data)].float().cpu().numpy()
    scores = pearson_per_gene(true, predicted, data.gene_mask.reshape(-1).cpu().numpy())
    scored = scores[np.isfinite(scores)]
    return float(scored.mean()) if len(scored) else float("nan")


def mean_pcc(scores: Sequence[float]) -> float:
    """Average the PCC over sections."""
    # Skip sections in which every gene is constant; if none is left, the score is 0.
    judged = [score for score in scores if np.isfinite(score)]
    return float(np.mean(judged)) if judged else 0.0


def folds(train: Sequence[Data]) -> list[tuple[list[Data], list[Data]]]:
    """Split the training spots into cross-validation folds: whole sections, or the halves of a single section.

    Held-out spots represent an unseen section, and neighboring spots are similar, so the parts are as large as
    possible. Denoised targets are recomputed for each fold, so that held-out spots do not influence them.

    Args:
        train: The training sections.

    Returns:
        Training and validation sections of at most five folds, shallow copies with ``train_mask`` and ``val_mask``.

    Raises:
        ValueError: If the training spots are too few to hold any out.
    """
    denoised = any("y_denoised" in data for data in train)
    found = []
    for held_out in _held_out(train):
        parts = [_part(data, held) for data, held in zip(train, held_out, strict=True)]
        fitted, judged = ([part for part in parts if part[mask].any()] for mask in ("train_mask", "val_mask"))
        if fitted and judged:
            if denoised:
                denoise_targets(fitted)
            found.append((fitted, judged))
    if not found:
        raise ValueError(
            f"Section {train[0].section!r} has {int(training_spots(train[0]).sum())} training spot, too few to choose "
            "alpha by cross-validation; set validation sections or alpha."
        )
    return found


def _held_out(train: Sequence[Data]) -> list[list[Tensor]]:
    """Return a mask [N] of the held-out spots of each section, for each fold."""
    if len(train) > 1:
        groups = np.array_split(np.arange(len(train)), min(MOST_FOLDS, len(train)))
        return [[torch.full((len(d.y),), i in group) for i, d in enumerate(train)] for group in groups]
    pos = train[0].pos.double()
    along = pos[:, int((pos.amax(0) - pos.amin(0)).argmax())]
    spots = torch.nonzero(training_spots(train[0])).ravel()
    ordered = spots[along[spots].argsort(stable=True)]
    return [[torch.isin(torch.arange(len(pos)), half)] for half in ordered.tensor_split(2)]


def _part(data: Data, held_out: Tensor) -> Data:
    part = copy.copy(data)
    trains = training_spots(data)
    part.train_mask, part.val_mask = trains & ~held_out, trains & held_out
    if "y_denoised" in part:
        del part.y_denoised
    return part
