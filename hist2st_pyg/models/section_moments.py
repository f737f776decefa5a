"""Standardize features within their section, for predictions of whole sections and of blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.spot_patches import PATCHES_AT_ONCE, Patches
from hist2st_pyg.image.stain import stain_spots
from hist2st_pyg.models.base import ExpressionModel, section_ptr

SMALLEST_DEVIATION = 1e-6
"""Features with a smaller deviation are not scaled: it is rounding error, which division would amplify."""


def scale_of(x: Tensor) -> Tensor:
    """What features [N, F] are divided by, [F]: their deviation, or 1 where it is rounding error."""
    deviation = x.std(0, unbiased=False)
    return torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)


def moments(x: Tensor) -> Tensor:
    """Compute mean and standard deviation [1, 2·F] of features [N, F] over the spots that the stain is estimated on."""
    some = x[torch.from_numpy(stain_spots(len(x))).to(x.device)]
    return torch.cat([some.mean(0), scale_of(some)])[None]


def standardized(x: Tensor, data: Data) -> Tensor:
    """Standardize features [N, F] by the mean and standard deviation of their section.

    Args:
        x: The features of the spots of ``data``.
        data: Whole sections, or a part of one with the section's ``section_moments`` [1, 2·F].
    """
    given, parts = data.get("section_moments"), []
    for i, (start, end) in enumerate(itertools.pairwise(section_ptr(data))):
        part = x[start:end]
        mean, deviation = (moments(part) if given is None else given[i : i + 1]).chunk(2, dim=1)
        parts.append((part - mean) / deviation)
    return torch.cat(parts)


@torch.no_grad()
def features_at(
    model: ExpressionModel, encode: Callable[[Data], Tensor], spots: NDArray[np.int64], patches: Patches
) -> Tensor:
    """Compute features [n, F] of some spots' patches on the model's device; patches are read in small blocks.

    Args:
        model: The model.
        encode: The function from patches to features [n, F].
        spots: The spots, one or more.
        patches: The patches of their section.
    """
    device = model.target_mean.device
    parts = [
        encode(Data(x=patches(spots[start : start + PATCHES_AT_ONCE]).to(device)))
        for start in range(0, len(spots), PATCHES_AT_ONCE)
    ]
    return torch.cat(parts)


def section_moments(model: ExpressionModel, n_spots: int, patches: Patches) -> Tensor | None:
    """Compute the moments [1, 2·F] by which a model standardizes a section, or None if it does not standardize.

    Args:
        model: The model.
        n_spots: Number of the section's spots.
        patches: Their patches.
    """
    encode = model.section_features
    return None if encode is None else moments(features_at(model, encode, stain_spots(n_spots), patches))


def moments_of_features(model: ExpressionModel, features: Sequence[Tensor]) -> Tensor | None:
    """Compute :func:`section_moments` from the vision features of the whole section.

    Args:
        model: The model.
        features: The output of ``model.features``; its last item is standardized.
    """
    encode = model.section_features
    if encode is None:
        return None
    some = features[-1][torch.from_numpy(stain_spots(len(features[-1])))]
    return moments(encode(Data(statistics=some)))
