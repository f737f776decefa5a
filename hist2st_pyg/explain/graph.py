"""The graph stage as a module for PyG's explainers."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.explain.reading import Reading, hooked
from hist2st_pyg.models import Hist2ST
from hist2st_pyg.models.base import ExpressionModel


class GraphStage(nn.Module):
    """A gene's expression from the input of the graph stage, with the streams' inputs concatenated.

    It copies the model's layers, because explainers mark and mask layers, and the model must not change.

    Args:
        model: The model.
        gene: The gene's column.
        mean: The graph input of an average spot, each stream's [1, C].

    Shapes:
        - x [K, sum of C], differences from an average spot; edge_index [2, M]; edge_attr [M, 1] -> [K]
    """

    def __init__(self, model: Hist2ST, gene: int, mean: list[Tensor]) -> None:
        super().__init__()
        self.graphs = nn.ModuleList(copy.deepcopy(stream.gnn) for stream in model.streams)
        self.heads = nn.ModuleList(copy.deepcopy(stream.expression) for stream in model.streams)
        self.widths = [value.shape[1] for value in mean]
        self.gene, self.scale, self.shift = gene, float(model.target_std[gene]), float(model.target_mean[gene])
        self.mean = torch.cat(mean, dim=1).cpu()
        self.cpu().eval().requires_grad_(False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Predict the expression of all spots."""
        parts = torch.split(self.mean + x, self.widths, dim=1)
        values = [
            head(graph(part, edge_index, edge_attr))[:, self.gene]
            for graph, head, part in zip(self.graphs, self.heads, parts, strict=True)
        ]
        return torch.stack(values).mean(0) * self.scale + self.shift


@dataclass(frozen=True, eq=False)
class GraphReading:
    """The part of a prediction within reach of the graph layers, on the CPU.

    Args:
        stage: The stage.
        x: Its input [K, sum of C].
        spots: Indices of the K spots in the section.
        edge_index: The edges between them by row [2, M].
        edge_attr: Their distances [M, 1].
        own: The row of the explained spot.
    """

    stage: GraphStage
    x: Tensor
    spots: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    own: int

    @property
    def edges(self) -> Tensor:
        """The edges by the spots' indices in the section [2, M]."""
        return self.spots[self.edge_index]

    def __call__(self) -> Tensor:
        """The prediction."""
        return self.stage(self.x, self.edge_index, self.edge_attr)[self.own]  # type: ignore[no-any-return]

    def masked(self) -> float:
        """The prediction from average spots without messages."""
        with torch.no_grad():
            value = self.stage(torch.zeros_like(self.x), self.edge_index[:, :0], self.edge_attr[:0])[self.own]
        return float(value)


def read_graph(reading: Reading, model: Hist2ST) -> GraphReading:
    """Extract the graph stage of a prediction from the model.

    Args:
        reading: The prediction.
        model: Its model.
    """
    inputs: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        inputs.append(args[0].detach())

    with torch.no_grad(), hooked([stream.gnn for stream in model.streams], keep, True):
        reading()
    stage = GraphStage(model, reading.gene, [reading.mean(value) for value in inputs])
    x = torch.cat(inputs, dim=1).cpu() - stage.mean
    edge_index, edge_attr, hops = reading.piece.edge_index.cpu(), reading.piece.edge_attr.cpu(), model.num_hops
    if hops is None:
        return GraphReading(stage, x, reading.spots, edge_index, edge_attr, reading.own)
    reach, edge_index, own, inside = k_hop_subgraph(
        reading.own, hops, edge_index, relabel_nodes=True, num_nodes=len(reading.spots)
    )
    return GraphReading(stage, x[reach], reading.spots[reach], edge_index, edge_attr[inside], int(own))


def has_graph(model: ExpressionModel) -> TypeGuard[Hist2ST]:
    """Whether the model has graph layers."""
    return isinstance(model, Hist2ST) and len(model.streams[0].gnn.convs) > 0


def passes_messages(model: Hist2ST) -> bool:
    """Whether PyG can mask the messages of each graph layer."""
    layers = [[m for m in conv.modules() if isinstance(m, MessagePassing)] for conv in model.streams[0].gnn.convs]
    return all(found and all(layer.explain is not False for layer in found) for found in layers)
