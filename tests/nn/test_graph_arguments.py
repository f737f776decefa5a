from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as geometric

from hist2st_pyg.nn.graph_arguments import EXTRAS, edge_arguments, takes


class Optional(nn.Module):
    """A layer with an option of its own that it does not keep."""

    def __init__(self, edge_dim: int | None = None) -> None:
        super().__init__()

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        return x


class Required(nn.Module):
    def forward(self, h: Tensor, edges: Tensor, batch: Tensor, edge_attr: Tensor, *, edge_weight: Tensor) -> Tensor:
        return h


class Everything(nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor, **extras: Tensor) -> Tensor:
        return x


class HandsOn(nn.Module):
    """Gives all that it is given to a layer inside."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.convs = nn.ModuleList([conv])

    def forward(self, x: Tensor, edge_index: Tensor, **extras: Tensor) -> Any:
        return self.convs[0](self.norm(x), edge_index, **extras)


class OwnForward(geometric.GATv2Conv):  # type: ignore[misc]
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        return x


class OwnName(geometric.GATv2Conv):  # type: ignore[misc]
    pass


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU())


LAYERS: dict[str, tuple[nn.Module, set[str]]] = {
    "optional": (Optional(), {"edge_attr"}),
    "required": (Required(), {"edge_attr", "edge_weight", "batch"}),
    "everything": (Everything(), {"edge_attr", "edge_weight", "batch"}),
    "hands on to an own layer": (HandsOn(Optional()), {"edge_attr"}),
    "hands on to one that takes nothing": (HandsOn(geometric.SAGEConv(8, 8)), set()),
    "hands on to PyG's with edges": (HandsOn(geometric.GATConv(8, 8, edge_dim=1)), {"edge_attr"}),
    "hands on to PyG's without": (HandsOn(geometric.GATConv(8, 8)), set()),
    "hands on twice": (HandsOn(HandsOn(geometric.GCNConv(8, 8))), {"edge_weight"}),
    "own forward": (OwnForward(8, 8), {"edge_attr"}),
    "inherited forward": (OwnName(8, 8), set()),
    "inherited forward with edges": (OwnName(8, 8, edge_dim=1), {"edge_attr"}),
    "GENConv": (geometric.GENConv(8, 8), set()),
    "GENConv with edges": (geometric.GENConv(8, 8, edge_dim=1), {"edge_attr"}),
    "TransformerConv": (geometric.TransformerConv(8, 8), set()),
    "GeneralConv": (geometric.GeneralConv(8, 8), set()),
    "GeneralConv with edges": (geometric.GeneralConv(8, 8, in_edge_channels=1), {"edge_attr"}),
    "CGConv": (geometric.CGConv(8), set()),
    "CGConv with edges": (geometric.CGConv(8, dim=1), {"edge_attr"}),
    "GINEConv": (geometric.GINEConv(mlp()), {"edge_attr"}),  # it does not do without
    "GINEConv with edges": (geometric.GINEConv(mlp(), edge_dim=1), {"edge_attr"}),
    "GCNConv": (geometric.GCNConv(8, 8), {"edge_weight"}),
    "GPSConv": (geometric.GPSConv(8, geometric.SAGEConv(8, 8)), {"batch"}),
    "GPSConv with edges": (geometric.GPSConv(8, geometric.GATv2Conv(8, 8, edge_dim=1)), {"batch", "edge_attr"}),
    "AntiSymmetricConv": (geometric.AntiSymmetricConv(8), {"edge_weight"}),
    "GraphSAGE": (geometric.GraphSAGE(8, 8, 2), {"batch"}),
    "GAT": (geometric.GAT(8, 8, 2), {"batch"}),
    "GAT with edges": (geometric.GAT(8, 8, 2, edge_dim=1), {"batch", "edge_attr"}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_given_what_it_takes(name: str) -> None:
    layer, expected = LAYERS[name]
    assert {extra for extra in EXTRAS if takes(layer, extra)} == expected
    assert edge_arguments(layer) == expected - {"batch"}


def test_a_compiled_layer_is_given_what_is_compiled() -> None:
    conv = geometric.GATConv(8, 8, edge_dim=1)
    for layer in (torch.compile(conv), HandsOn(torch.compile(conv))):  # type: ignore[arg-type]
        assert edge_arguments(layer) == {"edge_attr"}  # type: ignore[arg-type]
