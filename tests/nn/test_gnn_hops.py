from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as gnn

from hist2st_pyg.nn import CONVS, GNN


class TwoHops(nn.Module):
    """A layer of one's own, which says how far it looks."""

    hops = 2

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = gnn.SGConv(in_channels, out_channels, K=2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.conv(x, edge_index)  # type: ignore[no-any-return]


def felt(stack: GNN, spots: int = 12) -> int:
    """How far along a chain of spots a change at its beginning is felt."""
    torch.manual_seed(0)
    edge_index = torch.stack([torch.arange(spots - 1), torch.arange(1, spots)])
    x, distance = torch.randn(spots, 8), torch.ones(spots - 1, 1)
    other = x.clone()
    other[0] += 1
    with torch.no_grad():
        change = (stack.eval()(x, edge_index, distance) - stack(other, edge_index, distance)).abs().amax(1)
    return int(change.nonzero().max())


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("conv", sorted(CONVS))
def test_a_change_is_felt_as_far_as_the_layers_say(conv: str, layers: int) -> None:
    torch.manual_seed(0)
    stack = GNN(8, layers, conv, norm="layer", residual=True, jk="last")
    # GCN also reads the degree of the farthest spots.
    assert stack.hops == felt(stack) + (conv == "gcn")


@pytest.mark.parametrize(
    ("conv", "hops"),
    [(gnn.GATv2Conv, 2), (TwoHops, 4), (lambda i, o: gnn.SGConv(i, o, K=5), None), (gnn.ClusterGCNConv, None)],
)
def test_layers_of_one_s_own(conv: Any, hops: int | None) -> None:
    torch.manual_seed(0)
    stack = GNN(8, 2, conv, norm="layer", residual=True, jk="last")
    assert stack.hops == hops
    assert hops is None or felt(stack) == hops
