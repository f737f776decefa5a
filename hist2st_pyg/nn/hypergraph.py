"""A hypergraph of the spots: each spot joins the hyperedges of its least similar neighbors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import HypergraphConv


def unlike_neighbors(x: Tensor, edge_index: Tensor, k: int) -> Tensor:
    """Select the edges from the ``k`` neighbors of each spot with the most distant features.

    Args:
        x: Features [N, C].
        edge_index: The graph [2, E], from neighbor to spot.
        k: Number of neighbors; a spot with fewer keeps all.

    Returns:
        Indices of the edges in ``edge_index``, by spot, the most distant first.

    >>> x, edges = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[1, 2, 0], [0, 0, 2]])
    >>> unlike_neighbors(x, edges, 1)
    tensor([1, 2])
    """
    source, target = edge_index
    apart = (x[source] - x[target]).norm(dim=1)
    order: Tensor = apart.argsort(descending=True, stable=True)
    order = order[target[order].argsort(stable=True)]
    degree = torch.bincount(target, minlength=len(x))
    rank = torch.arange(len(order), device=x.device) - (degree.cumsum(0) - degree)[target[order]]
    return order[rank < k]


class Hypergraph(nn.Module):
    """Two hypergraph convolutions of PyG, added to their input (Li et al. 2024).

    Each spot has a hyperedge, which holds the spots that joined it; a spot receives the mean, over the hyperedges that
    it joined, of the mean over their spots.

    Args:
        channels: Width C.
        hidden_channels: Width between the convolutions.
        k: Hyperedges that a spot joins, see :func:`unlike_neighbors`.
        dropout: Dropout between the convolutions.

    Shapes:
        - x [N, C], edge_index [2, E] (neighbor to spot) -> [N, C]
    """

    def __init__(self, channels: int, hidden_channels: int, k: int = 4, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = HypergraphConv(channels, hidden_channels)
        self.conv2 = HypergraphConv(hidden_channels, channels)
        self.norm = nn.LayerNorm(hidden_channels)
        self.dropout = nn.Dropout(dropout)
        self.k = k

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        chosen = unlike_neighbors(x.detach(), edge_index, self.k)
        joins = edge_index[:, chosen].flip(0)  # spot, hyperedge
        h = self.dropout(self.norm(F.relu(self.conv1(x, joins, num_edges=len(x)))))
        return x + self.conv2(h, joins, num_edges=len(x))  # type: ignore[no-any-return]
