"""Training spots that a model keeps, to look up at prediction what spots like a new one expressed."""

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
    """The rows of each section that are kept: its training spots, or of all sections' as many evenly as the limit.

    Args:
        train: The training sections.
        limit: Largest number of spots.
    """
    of_each = [training_spots(section.data).nonzero()[:, 0].cpu() for section in train]
    spots, section = torch.cat(of_each), torch.repeat_interleave(torch.tensor([len(each) for each in of_each]))
    kept = torch.arange(min(len(spots), limit)) * len(spots) // min(len(spots), limit)
    return [spots[kept[section[kept] == i]] for i in range(len(train))]


def reference_expression(train: Sequence[SectionParts], rows: Sequence[Tensor]) -> Tensor:
    """The training targets of some spots, [M, G]; a gene that a section did not measure is at its mean over the others.

    Args:
        train: The training sections.
        rows: The rows of each.
    """
    mean, _ = target_statistics(train)
    parts = zip(train, rows, strict=True)
    return torch.cat([torch.where(section.data.gene_mask, section.target_at(each), mean) for section, each in parts])


def measured_target(data: Data, otherwise: Tensor) -> Tensor:
    """The training targets [N, G] of a ``Data`` or ``Batch``, and values [G] where a section did not measure a gene."""
    batch = data.get("batch")
    mask = data.gene_mask.reshape(-1, len(otherwise))
    return torch.where(mask if batch is None else mask[batch], training_target(data), otherwise)


def make_room(*names: str) -> Callable[..., None]:
    """A hook that resizes a model's buffers before weights are loaded, which alone say how many spots they are of.

    Args:
        names: The buffers, each [M, ...]; the first tells M.
    """

    def resize(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        n_spots = len(state.get(prefix + names[0], getattr(model, names[0])))
        for name in names:
            buffer: Tensor = getattr(model, name)
            setattr(model, name, buffer.new_zeros(n_spots, *buffer.shape[1:]))

    return resize
