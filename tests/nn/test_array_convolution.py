from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hist2st_pyg.nn.array_convolution import ArrayConvolution


def dense(layer: ArrayConvolution, x: Tensor, grid: Tensor) -> Tensor:
    """The same by an image of the array."""
    low = grid.amin(0)
    columns, rows = (grid.amax(0) - low + 1).tolist()
    image = torch.zeros(x.shape[1], rows, columns)
    for value, (column, row) in zip(x, (grid - low).tolist(), strict=True):
        image[:, row, column] += value
    around = image + layer.conv(image[None])[0]
    return torch.stack([around[:, row, column] for column, row in (grid - low).tolist()])


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_it_is_the_convolution_of_the_array(kernel_size: int) -> None:
    torch.manual_seed(kernel_size)
    grid = torch.unique(torch.randint(3, 9, (30, 2)), dim=0)[torch.randperm(5)]
    grid = torch.cat([grid, torch.tensor([[3, 8], [8, 3], [8, 8], [7, 8], [7, 8]])])  # two spots at one place
    x, layer = torch.randn(len(grid), 4), ArrayConvolution(4, kernel_size)
    torch.testing.assert_close(layer(x, grid, [0, len(x)]), dense(layer, x, grid))


def test_sections_of_a_batch_are_not_neighbors() -> None:
    layer, grid = ArrayConvolution(2), torch.tensor([[0, 0], [0, 1], [0, 0], [0, 1], [1, 0]])
    x = torch.randn(5, 2)
    together = layer(x, grid, [0, 2, 5])
    alone = torch.cat([layer(x[:2], grid[:2], [0, 2]), layer(x[2:], grid[2:], [0, 3])])
    torch.testing.assert_close(together, alone)
