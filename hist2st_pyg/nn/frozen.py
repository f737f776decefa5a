"""Encoders whose pretrained weights are kept or trained on."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from hist2st_pyg.nn.checkpointing import in_chunks


class FreezableEncoder(nn.Module):
    """An encoder ``net`` of pixels in chunks; frozen, it gets no gradient and stays in evaluation mode."""

    takes = "pixels"
    net: nn.Module

    def freeze(self, frozen: bool, chunk: int) -> None:
        """Set whether ``net``, once built, keeps its weights, and the largest number of patches at a time."""
        self.net.requires_grad_(not frozen)
        self.frozen, self.chunk = frozen, chunk
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen network stays in evaluation mode."""
        super().train(mode)
        self.net.train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return in_chunks(self.net, x, self.chunk)
