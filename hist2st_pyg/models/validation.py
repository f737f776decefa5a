"""The one number by which epochs and settings are chosen: the PCC over genes, then over sections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch_geometric.data import Data

from hist2st_pyg.data.masks import validation_spots
from hist2st_pyg.metrics import pearson_per_gene


def section_pcc(predicted: ArrayLike, data: Data) -> float:
    """Mean PCC over the genes of a section; nan where every gene is constant.

    Args:
        predicted: Predicted expression of the spots that validate [n, G].
        data: The section.
    """
    true = data.y[validation_spots(data)].float().cpu().numpy()
    scores = pearson_per_gene(true, predicted, data.gene_mask.reshape(-1).cpu().numpy())
    scored = scores[np.isfinite(scores)]
    return float(scored.mean()) if len(scored) else float("nan")


def mean_pcc(scores: Sequence[float]) -> float:
    """Mean over sections."""
    # A section whose every gene is constant says nothing; with no other, nothing can be judged and the score is 0.
    judged = [score for score in scores if np.isfinite(score)]
    return float(np.mean(judged)) if judged else 0.0
