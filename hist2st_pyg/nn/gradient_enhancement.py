"""Convolutions of an image and of its gradient, which emphasize the borders of cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossDifference(nn.Module):
    """A cross-shaped 3x3 convolution minus a share of its response to a constant image.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the result.
        stride: Its stride.
        share: The share; 1 keeps only differences.

    Shapes:
        - [N, in_channels, H, W] -> [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, share: float = 0.7) -> None:
        super().__init__()
        # Initialized as a kernel of 5 pixels.
        self.weight = nn.Parameter(nn.Conv2d(in_channels, out_channels, (1, 5), bias=False).weight.detach()[:, :, 0])
        self.stride, self.share = stride, share

    def forward(self, x: Tensor) -> Tensor:
        up, left, center, right, down = self.weight.unbind(2)
        corner = torch.zeros_like(center)
        center = center - self.share * self.weight.sum(2)
        kernel = torch.stack([corner, up, corner, left, center, right, corner, down, corner], dim=2)
        return F.conv2d(x, kernel.view(*center.shape, 3, 3), stride=self.stride, padding=1)


class GradientEnhancement(nn.Module):
    """A plain and a difference convolution with stride 2, mixed by a 1x1 convolution (Li et al. 2024).

    Args:
        channels: Channels of the image and of the result.

    Shapes:
        - [N, channels, H, W] -> [N, channels, ⌈H / 2⌉, ⌈W / 2⌉]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        def activated(conv: nn.Module) -> nn.Sequential:
            return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())

        self.plain = activated(nn.Conv2d(channels, channels, 3, 2, 1))
        self.difference = activated(CrossDifference(channels, channels, 2))
        self.mix = activated(nn.Conv2d(2 * channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat([self.plain(x), self.difference(x)], dim=1))  # type: ignore[no-any-return]
