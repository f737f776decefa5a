"""Scale patches as a pretrained network expects them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_SIDE = 4096
"""Largest side to which patches are resized, in pixels; one patch then takes 192 MiB."""

NormStats = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of red, green and blue, on the scale 0 to 1."""

AS_SCALED: NormStats = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
"""The statistics that do not change patches."""
IMAGENET: NormStats = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Pixels(nn.Module):
    """Resize patches and scale their colors by a network's own statistics.

    Args:
        statistics: Mean and standard deviation of each channel, on the scale 0 to 1.
        size: Side of the result in pixels (bilinear, antialiased); None keeps it.

    Shapes:
        - patches [N, 3, P, P], 0 to 255 -> [N, 3, size, size]

    Raises:
        ValueError: If ``size`` is out of range.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: NormStats, size: int | None = None) -> None:
        super().__init__()
        if size is not None and not 1 <= size <= LARGEST_SIDE:
            raise ValueError(f"size must be from 1 to {LARGEST_SIDE} pixels, got {size}.")
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in statistics)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.mean.dtype)
        if self.size is not None and self.size != x.shape[-1]:
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        return (x / 255 - self.mean) / self.std
