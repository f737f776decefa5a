"""What spots and edges add, against differences of whole predictions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.data import SectionData
from hist2st_pyg.explain import (
    Explanation,
    explain_spot,
)
from tests._helpers.explained import MarkedEdges, build, marked


def importance_of(explanation: Explanation) -> dict[int, float]:
    return dict(zip(explanation.neighbors.tolist(), explanation.importance.tolist(), strict=True))


class Plain(nn.Module):
    """The same without PyG."""

    hops = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        source, target = edge_index[:, edge_attr[:, 0] == 2]
        out: Tensor = self.lin(torch.zeros_like(x).index_add(0, target, x[source]))
        return out


@pytest.mark.parametrize("color_stream", [False, True])
def test_the_one_neighbor_that_counts_comes_first(data: SectionData, color_stream: bool) -> None:
    data, target, source = marked(data)
    model = build(gnn=MarkedEdges, gnn_layers=1, gnn_residual=False, color_stream=color_stream)
    found = explain_spot(model, data, target, "GENE2", pixels=2)
    assert found.neighbors[:2].tolist() == [target, source]  # the spot itself, then the most important
    others = np.delete(np.abs(found.importance), 1)
    assert np.abs(found.importance[1]) > 5 * others.max() + 0.01
    assert found.edge_importance is not None
    best = int(np.abs(found.edge_importance).argmax())
    assert found.edges[:, best].tolist() == [source, target]
    assert np.abs(found.edge_importance[best]) > 5 * np.delete(np.abs(found.edge_importance), best).max() + 0.001
    own, other = found.pixels
    assert (own.spot, other.spot) == (target, source)
    assert own.importance.max() == 0
    assert other.importance.max() > 0


def test_layers_that_are_not_pyg_s(data: SectionData) -> None:
    data, target, source = marked(data)
    model = build(gnn=Plain, gnn_layers=1, gnn_residual=False)
    found = explain_spot(model, data, target, "GENE2", pixels=0)
    assert found.neighbors[1] == source
    assert found.edge_importance is None
    assert found.edges.shape[1] > 0


@pytest.mark.parametrize("layers", [0, 1])
def test_what_spots_add_is_the_difference_from_average_spots(data: SectionData, layers: int) -> None:
    model = build(color_stream=True, transformer_layers=layers, position="fourier")
    found = explain_spot(model, data, 20, "GENE3", pixels=0, steps=64)
    n = len(data.pos)
    with torch.no_grad():
        streams = model.streams
        means = [model.encode(m.vision, data).mean(0).expand(n, -1) for m in streams]  # n is below the sample's size
        h = [
            m.gnn(m.transformer(x, data.grid, [0, n]), data.edge_index, data.edge_attr)
            for m, x in zip(streams, means, strict=True)
        ]
        values = [m.expression(x) for m, x in zip(streams, h, strict=True)]
        reference = float(model.unstandardize(torch.stack(values).mean(0))[20, 2])
    assert found.reference == pytest.approx(reference, abs=1e-5)
    assert abs(found.predicted - reference) > 0.01
    assert found.importance.sum() == pytest.approx(found.predicted - reference, abs=0.002)
    assert len(found.neighbors) == (n if layers else len(k_hop_subgraph(20, 2, data.edge_index)[0]))


def test_what_edges_add_is_the_difference_from_no_messages(data: SectionData) -> None:
    model = build(gnn="graph", gnn_act="gelu", gnn_norm="none")
    found = explain_spot(model, data, 20, "GENE3", pixels=0, steps=128)
    alone = copy.copy(data)
    alone.edge_index, alone.edge_attr = data.edge_index[:, :0], data.edge_attr[:0]
    with torch.no_grad():
        difference = found.predicted - float(model(alone)["expression"][20, 2])
    assert found.edge_importance is not None
    assert abs(difference) > 0.01
    assert found.edge_importance.sum() == pytest.approx(difference, rel=0.02)


def test_without_a_graph_there_is_the_spot_itself(data: SectionData) -> None:
    found = explain_spot(build(gnn="none"), data, 7, "GENE1", pixels=3)
    assert found.neighbors.tolist() == [7]
    assert found.edges.shape == (2, 0)
    assert found.edge_importance is not None
    assert len(found.edge_importance) == 0
    assert [pixels.spot for pixels in found.pixels] == [7]
    assert found.importance[0] == pytest.approx(found.predicted - found.reference, abs=1e-3)


def test_a_spot_without_edges(data: SectionData) -> None:
    data = copy.copy(data)
    kept = data.edge_index[1] != 7
    data.edge_index, data.edge_attr = data.edge_index[:, kept], data.edge_attr[kept]
    found = explain_spot(build(), data, 7, "GENE1", pixels=0)
    assert found.neighbors.tolist() == [7]
    assert found.edges.shape == (2, 0)
