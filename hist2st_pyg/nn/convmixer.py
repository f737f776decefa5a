"""ConvMixer: the paper's encoder."""

from __future__ import annotations

from torch import Tensor, nn


class _MixerBlock(nn.Module):
    """Two depthwise convolutions with a skip connection, then a pointwise one."""

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
        return self.down(self.blocks(self.dropout(self.patch_embedding(x)))).flatten(1)  # type: ignore[no-any-return]
