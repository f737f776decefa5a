"""A depthwise convolution over the array of spots, used as a position encoding."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class ArrayConvolution(nn.Module):
    """The position encoding of Chung et al. (2024): x plus a depthwise convolution of the array; empty places are 0.

    Features of spots that share an array place are summed.

    Args:
        channels: Width C.
        kernel_size: Side of the kernel in array steps, odd.

    Shapes:
        - x [N, C], grid [N, 2] (column, row), ptr (section boundaries, from 0 to N) -> [N, C]
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, x: Tensor, grid: Tensor, ptr: list[int]) -> Tensor:
        reach = self.conv.kernel_size[0] // 2
        section = torch.repeat_interleave(torch.tensor(ptr, device=grid.device).diff())
        column, row = (grid - grid.amin(0)).unbind(1)
        columns, rows = int(column.max()) + 1 + reach, int(row.max()) + 1 + reach
        # Number the places of each section, with an empty border, so that no place is next to another section's.
        number = (section * columns + column) * rows + row
        places, place = torch.unique(number, return_inverse=True)
        value = x.new_zeros(len(places), x.shape[1]).index_add_(0, place, x)
        around = self.conv.bias.expand_as(value)  # type: ignore[union-attr]
        weight = self.conv.weight[:, 0]
        for i, j in itertools.product(range(2 * reach + 1), repeat=2):
            # The first axis of the kernel is along rows, as in an image.
            wanted = places + (j - reach) * rows + (i - reach)
            found = torch.searchsorted(places, wanted).clamp(max=len(places) - 1)
            around = around + weight[:, i, j] * value[found] * (places[found] == wanted)[:, None]
        return (value + around)[place]
