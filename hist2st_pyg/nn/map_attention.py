"""Attention over a feature map: over channels, then over positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MapAttention(nn.Module):
    """The convolutional block attention module of Woo et al. (ECCV 2018).

    Args:
        channels: Channels C.
        ratio: C divided by the hidden width of the channels' MLP, which is at least 1.

    Shapes:
        - [N, C, H, W] -> [N, C, H, W]
    """

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // ratio)
        self.channels = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        mean, most = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * (self.channels(mean) + self.channels(most)).sigmoid()
        summary = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.places(summary).sigmoid()  # type: ignore[no-any-return]
