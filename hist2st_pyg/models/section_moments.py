"""Standardizing features within their section, whether it is predicted at once or in blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.source import PATCHES_AT_ONCE, Patches
from hist2st_pyg.image.stain import stain_spots
from hist2st_pyg.models.base import ExpressionModel, section_ptr

SMALLEST_DEVIATION = 1e-6
"""What varies less is rounding, which no division may blow up: it keeps its unit."""


def moments(x: Tensor) -> Tensor:
    """Mean and deviation of a section's features [N, F] over the spots that also tell its stain, [1, 2·F]."""
    some = x[torch.from_numpy(stain_spots(len(x))).to(x.device)]
    deviation = some.std(0, unbiased=False)
    return torch.cat([some.mean(0), torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)])[None]


def standardized(x: Tensor, data: Data) -> Tensor:
    """Features [N, F] less their section's mean, over its deviation.

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
    """What a model makes of the patches of some spots, [n, F] on its device; few patches are cut at a time.

    Args:
        model: The model.
        encode: What it makes of them: a function to [n, F].
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
    """The moments [1, 2·F] by which a model standardizes a section, for its parts; None where it does not.

    Args:
        model: The model.
        n_spots: Number of the section's spots.
        patches: Their patches.
    """
    encode = model.section_features
    return None if encode is None else moments(features_at(model, encode, stain_spots(n_spots), patches))


def moments_of_features(model: ExpressionModel, features: Sequence[Tensor]) -> Tensor | None:
    """The same from what the vision stages made of all the section's patches, the last of which is standardized.

    Args:
        model: The model.
        features: As of ``model.features``.
    """
    encode = model.section_features
    if encode is None:
        return None
    some = features[-1][torch.from_numpy(stain_spots(len(features[-1])))]
    return moments(encode(Data(statistics=some)))
