"""The vision stage: each spot's patch becomes its node feature, [N, 3·S, P, P] -> [N, C].

To add an encoder, write a module with an ``out_channels`` attribute and add one line to :data:`ENCODERS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.choices import choose

EncoderFactory = Callable[[int, int], nn.Module]
"""``(in_channels, patch_size) -> module`` with an ``out_channels`` attribute."""


class _MixerBlock(nn.Module):
    """Two depthwise convolutions added to their input, then a pointwise one."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()

        def depthwise() -> list[nn.Module]:
            conv = nn.Conv2d(channels, channels, kernel_size, groups=channels, padding="same")
            return [conv, nn.BatchNorm2d(channels), nn.GELU()]

        self.depthwise = nn.Sequential(*depthwise(), *depthwise())
        self.pointwise = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU(), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(x + self.depthwise(x))  # type: ignore[no-any-return]


class ConvMixer(nn.Module):
    r"""The paper's encoder (Zeng et al. 2022, after Trockman & Kolter 2022); :math:`C = (P / stride)^2 · channels / 8`.

    Args:
        in_channels: Channels of a patch.
        patch_size: Side of a patch in pixels, P.
        channels: Channels of the convolutions, a multiple of 8.
        depth: Number of mixer blocks.
        kernel_size: Side of the depthwise kernels.
        stride: Side and stride of the patch-embedding kernel; divides ``patch_size``.
        dropout: Dropout after the patch embedding.

    Shapes:
        - patches [N, in_channels, P, P] -> [N, C]

    Raises:
        ValueError: If ``stride`` does not divide ``patch_size`` or 8 does not divide ``channels``.
    """

    def __init__(
        self,
        in_channels: int = 3,
        patch_size: int = 112,
        channels: int = 32,
        depth: int = 2,
        kernel_size: int = 5,
        stride: int = 7,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if patch_size % stride:
            raise ValueError(f"ConvMixer: stride={stride} does not divide patch_size={patch_size}.")
        if channels % 8:
            raise ValueError(f"ConvMixer: channels={channels} is not a multiple of 8.")
        self.patch_embedding = nn.Conv2d(in_channels, channels, stride, stride)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(_MixerBlock(channels, kernel_size) for _ in range(depth)))
        self.down = nn.Conv2d(channels, channels // 8, 1)
        self.out_channels = (patch_size // stride) ** 2 * channels // 8

    def forward(self, x: Tensor) -> Tensor:
        """Encode patches [N, in_channels, P, P] as [N, C]."""
        return self.down(self.blocks(self.dropout(self.patch_embedding(x)))).flatten(1)  # type: ignore[no-any-return]


class TextureCNN(nn.Module):
    """A small encoder for small data: strided convolutions, each stage summarised by its mean and deviation.

    The summaries keep what a patch is made of and forget where in the patch it lies, which is what a few hundred spots
    can teach.

    Args:
        in_channels: Channels of a patch.
        patch_size: Side of a patch in pixels, P.
        channels: Channels of each stage; every stage halves the resolution.
        size: Patches larger than this are first averaged down to it, in pixels.
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
        """Encode patches [N, in_channels, P, P] as [N, C]."""
        x = F.adaptive_avg_pool2d(x, self.size) if x.shape[-1] > self.size else x
        summaries = [_mean_and_deviation(x)]
        for stage in self.stages:
            x = stage(x)
            summaries.append(_mean_and_deviation(x))
        return self.project(torch.cat(summaries, dim=1))  # type: ignore[no-any-return]


def _mean_and_deviation(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 2C]; the small constant keeps the root's gradient finite on flat patches."""
    return torch.cat([x.mean((2, 3)), (x.var((2, 3), unbiased=False) + 1e-5).sqrt()], dim=1)


class MultiScale(nn.Module):
    """One encoder for each field of view of a spot; their features side by side.

    Args:
        encoders: One encoder for each scale, in the order of the patches' channels.

    Shapes:
        - patches [N, 3·S, P, P] -> [N, sum of the encoders' C]
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.out_channels = sum(encoder.out_channels for encoder in encoders)  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        """Encode patches [N, 3·S, P, P] as [N, C]."""
        views = x.chunk(len(self.encoders), dim=1)
        return torch.cat([encoder(view) for encoder, view in zip(self.encoders, views, strict=True)], dim=1)


ENCODERS: dict[str, Callable[..., nn.Module]] = {"cnn": TextureCNN, "convmixer": ConvMixer}
"""The encoders that can be chosen by key."""


def vision_resolver(vision: str | EncoderFactory, patch_size: int, n_scales: int = 1, **kwargs: Any) -> nn.Module:
    """Build the vision stage from a key, a class or a factory.

    Args:
        vision: A key of :data:`ENCODERS`, or a class or function ``(in_channels, patch_size) -> module``.
        patch_size: Side of a patch in pixels.
        n_scales: Number of fields of view stacked in a patch's channels; each gets an encoder of its own.
        kwargs: Further arguments of the encoder.

    Raises:
        TypeError: If an instance is given, or what is built has no ``out_channels``.
        ValueError: If the key is unknown.
    """
    if isinstance(vision, nn.Module):
        raise TypeError(
            f"vision={type(vision).__name__}(...) is an instance; give its class, a key or a factory "
            "(in_channels, patch_size) -> module, so that each model has weights of its own."
        )
    factory = vision if callable(vision) else choose(ENCODERS, vision, "vision")
    encoders = [factory(3, patch_size, **kwargs) for _ in range(n_scales)]
    for encoder in encoders:
        if not isinstance(getattr(encoder, "out_channels", None), int):
            raise TypeError(
                f"The encoder {type(encoder).__name__} needs an integer attribute out_channels, its width C."
            )
    return encoders[0] if n_scales == 1 else MultiScale(encoders)
