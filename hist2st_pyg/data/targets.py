"""What training aims at: each gene's target, its scale, and the target without most of its counting noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.denoise import denoise
from hist2st_pyg.data.masks import training_spots


def target_statistics(train: Sequence[Data]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each gene's ``y`` over the training spots that measured it, [G] each.

    A gene that does not vary has deviation 1, so that it is not blown up.

    Args:
        train: The training sections.
    """
    sums = torch.zeros(3, train[0].y.shape[1], dtype=torch.float64)
    for data in train:
        y = data.y[training_spots(data)].double()
        sums += torch.stack([torch.full((y.shape[1],), len(y)), y.sum(0), (y**2).sum(0)]) * data.gene_mask
    count = sums[0].clamp(min=1)
    mean = sums[1] / count
    std = (sums[2] / count - mean**2).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def denoise_targets(train: Sequence[Data]) -> int:
    """Give sections ``y_denoised`` [N, G]: what the standardized targets of their training spots share.

    Spots that do not train keep their target. A gene that a section did not measure counts as at its mean.

    Args:
        train: The training sections.

    Returns:
        The number of components kept; where it is 0, nothing stands above the noise and no section is changed.
    """
    mean, std = target_statistics(train)
    rows = [training_spots(data) for data in train]
    standard = torch.cat(
        [torch.where(data.gene_mask, (data.y[r] - mean) / std, 0.0) for data, r in zip(train, rows, strict=True)]
    )
    varies = standard.var(0) > 0  # the others would make the noise look small
    kept, components = denoise(standard[:, varies]) if varies.any() else (standard, 0)
    if components:
        standard[:, varies] = kept
        for data, r, values in zip(train, rows, torch.split(standard, [int(r.sum()) for r in rows]), strict=True):
            data.y_denoised = data.y.clone()
            data.y_denoised[r] = values * std + mean
    return components
