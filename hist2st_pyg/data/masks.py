"""Which spots of a section train and which validate: PyG's ``train_mask`` and ``val_mask``, where there are any."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data


def training_spots(data: Data) -> Tensor:
    """The spots that train, bool [N]: those of ``train_mask``, all where there is none."""
    return _spots(data, "train_mask")


def validation_spots(data: Data) -> Tensor:
    """The spots that validate, bool [N]: those of ``val_mask``, all where there is none."""
    return _spots(data, "val_mask")


def _spots(data: Data, mask: str) -> Tensor:
    one_each = data.y if "y" in data else data.pos  # a large section's target is made of the spots that are asked for
    spots: Tensor = data[mask] if mask in data else torch.ones(len(one_each), dtype=torch.bool, device=one_each.device)
    return spots
