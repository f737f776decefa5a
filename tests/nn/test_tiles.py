from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hist2st_pyg.nn.tiles import Tiles, tiles


class Means(nn.Module):
    """The mean color of what it is given."""

    out_channels = 3

    def __init__(self, in_channels: int, patch_size: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_each_tile_is_encoded_by_itself_row_by_row() -> None:
    x = torch.rand(2, 3, 13, 13)
    encoded = Tiles(Means, 13, 3)(x).view(2, 3, 3, 3)
    for row in range(3):
        for column in range(3):
            tile = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            torch.testing.assert_close(encoded[:, row, column], tile.mean((2, 3)))


def test_what_tiles_leave_over_is_cut_off_around_them() -> None:
    x = torch.zeros(1, 3, 10, 10)
    x[:, :, 1:9, 1:9] = 1  # 8 of 10 pixels are tiles
    assert torch.equal(tiles(x, 2, 4), torch.ones(4, 3, 4, 4))


def test_fields_of_view_stand_side_by_side_in_a_tile() -> None:
    x = torch.cat([torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)], dim=1)
    stage = Tiles(Means, 8, 2, n_scales=2)
    assert (stage.channels, stage.out_channels) == (6, 24)
    assert stage(x).view(2, 4, 6)[1, 3].tolist() == [0, 0, 0, 1, 1, 1]


def test_embeddings_are_one_tile() -> None:
    stage = Tiles("precomputed", 8, 4, embedding_channels=5, out_channels=6)
    assert (stage.takes, stage.side, stage.out_channels) == ("embeddings", 1, 6)
    assert stage(torch.rand(7, 5)).shape == (7, 6)


@pytest.mark.parametrize("side", [0, 9])
def test_a_number_of_tiles_that_cannot_be_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=rf"A patch of 8 pixels has 1 to 8 tiles along a side, got {side}\."):
        Tiles(Means, 8, side)
