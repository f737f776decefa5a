"""Color and texture statistics of a patch, which need no trained network."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
BLOCK_PATCHES = 1024
"""Number of patches whose statistics are computed at a time."""
VARIANCE_FLOOR = 1e-12
"""Keeps the gradient of a root finite on flat patches."""


class PatchStatistics(nn.Module):
    """Compute 27 statistics of a patch, on the scale 0 to 1, without weights.

    For each of red, green and blue in turn: mean, standard deviation, the 10, 25, 50, 75 and 90 % quantiles, mean and
    standard deviation of the gradient's magnitude (central differences, per pixel).

    Args:
        size: Larger patches are first averaged down to this side, in pixels.

    Shapes:
        - patches [N, 3, P, P], 0 to 255, P at least 3 -> [N, 27]

    Raises:
        ValueError: In ``forward``, if the patches have another shape.
    """

    takes = "pixels"
    out_channels = 27

    def __init__(self, size: int = 56) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3 or min(x.shape[2:]) < 3:
            raise ValueError(f"Patches must be [N, 3, P, P] with P at least 3, got {list(x.shape)}.")
        x = x if x.is_floating_point() else x.float()
        x = (F.adaptive_avg_pool2d(x, self.size) if x.shape[-1] > self.size else x) / 255
        down, across = (x[..., 2:, 1:-1] - x[..., :-2, 1:-1]) / 2, (x[..., 1:-1, 2:] - x[..., 1:-1, :-2]) / 2
        steepness = (down.square() + across.square() + VARIANCE_FLOOR).sqrt().flatten(2)
        colors = x.flatten(2)
        parts = [*_mean_and_deviation(colors), *_quantiles(colors), *_mean_and_deviation(steepness)]
        return torch.stack(parts, dim=2).flatten(1)


class StatisticsEncoder(nn.Module):
    """:class:`PatchStatistics`, standardized over the training patches, and one layer.

    Args:
        in_channels: Channels of a patch, 3.
        patch_size: Side of a patch in pixels, P, at least 3.
        out_channels: Width of the result, C.
        dropout: Dropout of the result.

    Shapes:
        - patches [N, 3, P, P], 0 to 255, or their statistics [N, 27] -> [N, C]
    """

    takes = "statistics"

    def __init__(
        self, in_channels: int = 3, patch_size: int = 112, out_channels: int = 128, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.statistics = PatchStatistics()
        # No layer before it is trained, so the running statistics are plain averages over training (momentum None).
        # Training uses them too: a batch's own statistics would hide its difference from other batches. Texture varies
        # little (1e-5), so eps is smaller.
        self.standardize = nn.BatchNorm1d(self.statistics.out_channels, eps=1e-8, momentum=None, affine=False)
        self.project = nn.Sequential(
            nn.Linear(self.statistics.out_channels, out_channels),
            nn.LayerNorm(out_channels),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        statistics, bn = x if x.dim() == 2 else self.statistics(x), self.standardize
        if self.training:
            bn(statistics)
        standard = F.batch_norm(statistics, bn.running_mean, bn.running_var, eps=bn.eps)
        return self.project(standard)  # type: ignore[no-any-return]


@torch.no_grad()
def patch_statistics(patches: Tensor) -> Tensor:
    """:class:`PatchStatistics` of each field of view, [N, 3·S, P, P] -> [N, 27·S], a few patches at a time."""
    statistics = PatchStatistics()
    parts = [
        torch.cat([statistics(view) for view in part.chunk(part.shape[1] // 3, dim=1)], dim=1)
        for part in torch.chunk(patches, -(-len(patches) // BLOCK_PATCHES))
    ]
    return torch.cat(parts)


def recolored(statistics: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """The statistics of patches after ``gain * x + offset`` in each color, without the patches.

    The map applies to means and quantiles, its gain to deviations and gradients; mirroring and 90° turns change none.

    Args:
        statistics: Those of the patches [N, 27·S].
        gain: Gain of each color [N or 1, 3].
        offset: Offset of each color [N or 1, 3], on the scale 0 to 1.
    """
    # [N, S, color, statistic]: mean, deviation, five quantiles, mean and deviation of the gradient's magnitude.
    s = statistics.view(len(statistics), -1, 3, PatchStatistics.out_channels // 3)
    gain, offset = gain[:, None, :, None], offset[:, None, :, None]
    quantiles = torch.where(gain < 0, s[..., 2:-2].flip(3), s[..., 2:-2])
    parts = [gain * s[..., :1] + offset, gain.abs() * s[..., 1:2], gain * quantiles + offset, gain.abs() * s[..., -2:]]
    return torch.cat(parts, dim=3).flatten(1)


def contrasts(statistics: Tensor) -> Tensor:
    """Subtract the mean color of the next field of view from the statistics of each; the last keeps its own.

    Args:
        statistics: Those of the patches [N, 27·S].
    """
    views = torch.split(statistics, PatchStatistics.out_channels, dim=1)
    around = [view[:, :: PatchStatistics.out_channels // 3] for view in views[1:]]  # a color's mean comes first
    less = [recolored(view, torch.ones_like(mean), -mean) for view, mean in zip(views, around, strict=False)]
    return torch.cat([*less, views[-1]], dim=1)


def _mean_and_deviation(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(2), (values.var(2, unbiased=False) + VARIANCE_FLOOR).sqrt()


def _quantiles(values: Tensor) -> list[Tensor]:
    """Quantiles over the last axis, interpolated linearly; one sort for all."""
    if values.device.type != "cpu" or values.requires_grad:
        ordered = values.sort(dim=2).values
    else:
        ordered = torch.from_numpy(np.sort(values.cpu().numpy(), axis=2))  # numpy sorts 30 times as fast as torch
    places = [quantile * (ordered.shape[2] - 1) for quantile in QUANTILES]
    return [torch.lerp(ordered[..., int(p)], ordered[..., int(p) + 1], p - int(p)) for p in places]
