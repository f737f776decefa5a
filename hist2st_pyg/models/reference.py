"""Training spots that a model stores, to retrieve the expression of similar spots at prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.data.masks import training_spots
from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.targets import target_statistics
from hist2st_pyg.losses import training_target


def spread_spots(train: Sequence[SectionParts], limit: int) -> list[Tensor]:
    """Select the rows of each section to store: all training spots, or evenly spaced ones up to the limit.

    Args:
        train: The training sections.
        limit: Largest number of spots over all sections.
    """
    of_each = [training_spots(section.data).nonzero()[:, 0].cpu() for section in train]
    spots, section = torch.cat(of_each), torch.repeat_interleave(torch.tensor([len(each) for each in of_each]))
    kept = torch.arange(min(len(spots), limit)) * len(spots) // min(len(spots), limit)
    return [spots[kept[section[kept] == i]] for i in range(len(train))]


def reference_expression(train: Sequence[SectionParts], rows: Sequence[Tensor]) -> Tensor:
    """Stack the training targets [M, G] of some spots; unmeasured genes get their mean over the other sections.

    Args:
        train: The training sections.
        rows: The rows of each section.
    """
    mean, _ = target_statistics(train)
    parts = zip(train, rows, strict=True)
    return torch.cat([torch.where(section.data.gene_mask, section.target_at(each), mean) for section, each in parts])


def measured_target(data: Data, otherwise: Tensor) -> Tensor:
    """Return the training targets [N, G] of a ``Data`` or ``Batch``, with ``otherwise`` [G] for unmeasured genes."""
    batch = data.get("batch")
    mask = data.gene_mask.reshape(-1, len(otherwise))
    return torch.where(mask if batch is None else mask[batch], training_target(data), otherwise)


def resize_buffers(*names: str) -> Callable[..., None]:
    """Return a hook that resizes buffers before weights are loaded, because only the weights know the number of spots.

    Args:
        names: The buffers, each [M, ...]; the first gives M.
    """

    def resize(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        n_spots = len(state.get(prefix + names[0], getattr(model, names[0])))
        for name in names:
            buffer: Tensor = getattr(model, name)
            setattr(model, name, buffer.new_zeros(n_spots, *buffer.shape[1:]))

    return resize
