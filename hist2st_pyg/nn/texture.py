"""A small convolutional encoder for small data."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.nn.moments import moments


class TextureCNN(nn.Module):
    """A small encoder for small data: strided convolutions, each stage summarized by its mean and deviation.

    The summaries keep the content of a patch and drop its place in the patch, so that a few hundred spots suffice.

    Args:
        in_channels: Channels of a patch.
        patch_size: Side of a patch in pixels, P.
        channels: Channels of each stage; every stage halves the resolution.
        size: Larger patches are first averaged down to this side, in pixels.
        out_channels: Width of the result, C.
        dropout: Dropout of the result.

    Shapes:
        - patches [N, in_channels, P, P] -> [N, C]
    """

    def __init__(
        self,
        in_channels: int = 3,
        patch_size: int = 112,
        channels: Sequence[int] = (16, 32, 64),
        size: int = 56,
        out_channels: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.size = min(size, patch_size)
        widths = [in_channels, *channels]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.GELU())
            for before, after in itertools.pairwise(widths)
        )
        self.project = nn.Sequential(
            nn.Linear(2 * sum(widths), out_channels), nn.LayerNorm(out_channels), nn.GELU(), nn.Dropout(dropout)
        )
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, self.size) if x.shape[-1] > self.size else x
        summaries = [moments(x)]
        x = x.contiguous(memory_format=torch.channels_last)  # convolutions read this layout without a copy
        for stage in self.stages:
            x = stage(x)
            summaries.append(moments(x))
        return self.project(torch.cat(summaries, dim=1))  # type: ignore[no-any-return]
