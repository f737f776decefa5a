"""Jumping knowledge over the depths of the graph stage, and the normalizations between them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import nn as gnn


class LSTMJumpingKnowledge(nn.Module):
    """The paper's jumping knowledge: a two-layer LSTM along depth, its outputs averaged over depth.

    Shapes:
        - depths, a list of L tensors [N, C] -> [N, C]
    """

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, 2)

    def forward(self, depths: list[Tensor]) -> Tensor:
        return self.lstm(torch.stack(depths))[0].mean(0)  # type: ignore[no-any-return]


class CatJumpingKnowledge(nn.Module):
    """All depths concatenated and projected to C."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels * num_layers, channels)

    def forward(self, depths: list[Tensor]) -> Tensor:
        return self.lin(torch.cat(depths, dim=-1))  # type: ignore[no-any-return]


class LastJumpingKnowledge(nn.Module):
    """The deepest layer's output."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()

    def forward(self, depths: list[Tensor]) -> Tensor:
        return depths[-1]


JUMPING_KNOWLEDGE: dict[str, Callable[[int, int], nn.Module]] = {
    "cat": CatJumpingKnowledge,
    "hist2st": LSTMJumpingKnowledge,
    "last": LastJumpingKnowledge,
    "lstm": lambda channels, num_layers: gnn.JumpingKnowledge("lstm", channels, num_layers),
    "max": lambda channels, num_layers: gnn.JumpingKnowledge("max"),
}
"""Ways to combine the depths; ``"hist2st"`` is the paper's, ``"lstm"`` is PyG's bidirectional LSTM with attention."""


class L2Norm(nn.Module):
    """The paper's normalization: each spot's feature has length 1 (or 0)."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "l2": L2Norm,
    "layer": nn.LayerNorm,
    "none": lambda channels: nn.Identity(),
}
"""The normalizations after each layer; all work on single spots, so that the sections of a batch do not mix."""
