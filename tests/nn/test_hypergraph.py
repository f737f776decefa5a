from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.nn.hypergraph import Hypergraph, unlike_neighbors


def made(n: int = 12, k: int = 5) -> tuple[Tensor, Tensor]:
    """Features, and ``k`` random neighbors of each spot but the last, which has two."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 8, generator=generator)
    edges = []
    for spot in range(n):
        others = torch.tensor([other for other in range(n) if other != spot])
        chosen = others[torch.randperm(n - 1, generator=generator)[: 2 if spot == n - 1 else k]]
        edges += [[int(source), spot] for source in chosen]
    return x, torch.tensor(edges).T


def incidence(x: Tensor, edge_index: Tensor, k: int) -> Tensor:
    """Which spot (row) is in which hyperedge (column), spot by spot."""
    joins = torch.zeros(len(x), len(x))
    for spot in range(len(x)):
        neighbors = edge_index[0, edge_index[1] == spot]
        far = sorted(neighbors.tolist(), key=lambda other: -float((x[other] - x[spot]).norm()))
        joins[spot, far[:k]] = 1
    return joins


def test_a_spot_joins_the_hyperedges_of_the_neighbors_least_like_it() -> None:
    x, edge_index = made()
    chosen = edge_index[:, unlike_neighbors(x, edge_index, 3)]
    found = torch.zeros(12, 12)
    found[chosen[1], chosen[0]] = 1
    assert torch.equal(found, incidence(x, edge_index, 3))
    assert found.sum(1).tolist() == [3.0] * 11 + [2.0]


def test_the_convolutions_are_means_of_means() -> None:
    torch.manual_seed(0)
    x, edge_index = made()
    layer = Hypergraph(8, 6, k=3, dropout=0.4).eval()
    nn.init.normal_(layer.conv1.bias)
    joins = incidence(x, edge_index, 3)
    members = joins.T / joins.sum(0).clamp(min=1)[:, None]  # hyperedge by spot
    mean = joins / joins.sum(1, keepdim=True) @ members
    h = layer.norm(F.relu(mean @ layer.conv1.lin(x) + layer.conv1.bias))
    expected = x + mean @ layer.conv2.lin(h) + layer.conv2.bias
    torch.testing.assert_close(layer(x, edge_index), expected, rtol=1e-5, atol=1e-5)


def test_spots_without_neighbors_are_left_with_the_bias() -> None:
    layer = Hypergraph(8, 6).eval()
    out = layer(torch.randn(4, 8), torch.empty(2, 0, dtype=torch.long))
    assert torch.isfinite(out).all()
