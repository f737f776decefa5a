"""Hist2ST as published, directly from the formulas: the reference for results and speed of the fast code.

The adjacency matrix is dense [N, N], attention computes its softmax explicitly, neighbors are found from all distances,
and the activations of all views of distillation are kept. The weights are those of a :class:`~hist2st_pyg.Hist2ST` with
the paper's layers (``gnn="hist2st"``, one stream).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg import Hist2ST
from hist2st_pyg.nn.gnn import GNN, Hist2STConv
from hist2st_pyg.nn.transformer import SpotTransformer


class Reference(nn.Module):
    """Computes the published model with the weights of a given model, one section at a time.

    Args:
        model: The model.

    Raises:
        ValueError: If the model's graph layers or streams are not the paper's.
    """

    def __init__(self, model: Hist2ST) -> None:
        super().__init__()
        if len(model.streams) > 1 or any(type(conv) is not Hist2STConv for conv in model.gnn.convs):
            raise ValueError("The reference computes one stream with the paper's graph layers (gnn='hist2st').")
        self.model = model
        self.likelihood, self.target_std = model.likelihood, model.target_std
        self.own_losses = model.own_losses

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Run the model."""
        out = self.expression(data)
        return out | (self.likelihood(out["embedding"]) if self.likelihood is not None else {})

    def expression(self, data: Data) -> dict[str, Tensor]:
        """Compute expression and embedding."""
        stream = self.model.streams[0]
        h = self.model.encode(stream.vision, data)
        h = attend(stream.transformer, h, data.grid)
        h = aggregate(stream.gnn, h, adjacency(data.edge_index, len(h)))
        return {"expression": self.model.unstandardize(stream.expression(h)), "embedding": h}

    def distil(self, views: Iterable[Data], n_kept: int = 0) -> Tensor:
        """Average the views' predictions by their weights; all activations are kept for the gradient."""
        assert self.model.distillation is not None
        outs = [self.expression(view) for view in views]
        h, expression = (torch.stack([out[key] for out in outs]) for key in ("embedding", "expression"))
        return self.model.distillation(h, expression)  # type: ignore[no-any-return]


def attend(transformer: SpotTransformer, h: Tensor, grid: Tensor) -> Tensor:
    """Compute position embedding and self-attention, softmax(Q K^T / sqrt(d)) V, with N x N weights per head."""
    h = h if transformer.position is None else h + transformer.position(grid)
    block: Any  # its layers are not typed
    for block in transformer.blocks:
        attention = block.attention
        q, k, v = attention.qkv(attention.norm(h)).unflatten(1, (3, attention.heads, -1)).permute(1, 2, 0, 3)
        weights = (q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(dim=2)
        h = h + attention.out((weights @ v).transpose(0, 1).flatten(1))
        h = h + block.mlp(h)
    return h


def adjacency(edge_index: Tensor, n: int) -> Tensor:
    """Build the matrix [N, N] with A[i, j] = 1 / (number of neighbors of i) if j is a neighbor of i."""
    matrix = torch.zeros(n, n)
    matrix[edge_index[1], edge_index[0]] = 1.0
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1)


def aggregate(gnn: GNN, h: Tensor, matrix: Tensor) -> Tensor:
    """Compute h <- normalize(ReLU(W A h)) at each layer, and the LSTM over layers."""
    depths = []
    conv: Any
    for conv in gnn.convs:
        h = torch.relu(conv.lin(matrix @ h))
        h = h / h.norm(dim=1, keepdim=True).clamp(min=1e-12)
        depths.append(h)
    return h if gnn.jk is None else gnn.jk(depths)


def dense_graph(pos: NDArray[np.float64], k: int, max_distance: float) -> NDArray[np.float32]:
    """Build the graph as a matrix [N, N] from the sorted distances of each spot to all others."""
    matrix = np.zeros((len(pos), len(pos)), dtype=np.float32)
    for spot, place in enumerate(pos):
        distance = np.sqrt(((pos - place) ** 2).sum(1))
        nearest = np.argsort(distance, kind="stable")
        nearest = nearest[nearest != spot][:k]
        matrix[spot, nearest[distance[nearest] <= max_distance]] = 1.0
    return matrix
