"""The training and validation spots of a section: PyG's ``train_mask`` and ``val_mask``, if there are any."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data


def training_spots(data: Data) -> Tensor:
    """The training spots, bool [N]: those of ``train_mask``, all if there is none."""
    return _spots(data, "train_mask")


def validation_spots(data: Data) -> Tensor:
    """The validation spots, bool [N]: those of ``val_mask``, all if there is none."""
    return _spots(data, "val_mask")


def _spots(data: Data, mask: str) -> Tensor:
    one_each = data.y if "y" in data else data.pos  # a streamed section has no y
    spots: Tensor = data[mask] if mask in data else torch.ones(len(one_each), dtype=torch.bool, device=one_each.device)
    return spots
