"""HisToGene's encoder: one linear map of all pixels."""

from __future__ import annotations

from torch import Tensor, nn


class LinearEncoder(nn.Module):
    """A linear map of the flattened patch (Pang et al. 2021).

    Args:
        in_channels: Channels of a patch.
        patch_size: Side of a patch in pixels, P.
        out_channels: Width of the result, C.

    Shapes:
        - patches [N, in_channels, P, P] -> [N, C]
    """

    def __init__(self, in_channels: int = 3, patch_size: int = 112, out_channels: int = 1024) -> None:
        super().__init__()
        self.project = nn.Linear(in_channels * patch_size**2, out_channels)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.flatten(1))  # type: ignore[no-any-return]
