"""Every convolution of PyG's: by class, by a factory, or refused for a reason."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric import nn as geometric
from torch_geometric.data import Batch, Data
from torch_geometric.nn import conv as convolutions

from hist2st_pyg import knn_edges
from hist2st_pyg.nn import GNN

C = 16


class Works(NamedTuple):
    """A convolution that can be chosen."""

    factory: Callable[[int, int], nn.Module] | None = None
    """What builds it; None where its class does."""
    distance: bool = False
    """Whether the distance is felt."""
    apart: bool = True
    """Whether it keeps the sections of a batch apart; a batch of several is refused where it does not."""


class Refused(NamedTuple):
    """A convolution that cannot."""

    reason: str
    """What the error says."""
    factory: Callable[[int, int], nn.Module] | None = None
    """What builds it, where the class alone is refused because two widths do not."""
    needs: str = ""
    """The package without which it is refused, and with which it is not tried here."""


def mlp(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_channels, out_channels), nn.ReLU(), nn.Linear(out_channels, out_channels))


NO_EDGES = "takes no edge_index"
CONVOLUTIONS: dict[str, Works | Refused] = {
    "AGNNConv": Works(lambda i, o: geometric.AGNNConv()),
    "APPNP": Works(lambda i, o: geometric.APPNP(K=2, alpha=0.1), distance=True),
    "ARMAConv": Works(distance=True),
    "AntiSymmetricConv": Works(lambda i, o: geometric.AntiSymmetricConv(i), distance=True),
    "CGConv": Works(lambda i, o: geometric.CGConv(i, dim=1), distance=True),
    "ChebConv": Works(lambda i, o: geometric.ChebConv(i, o, K=2), distance=True),
    "ClusterGCNConv": Works(),
    "CuGraphGATConv": Refused("requires 'pylibcugraphops", needs="pylibcugraphops"),
    "CuGraphRGCNConv": Refused("needs edge_type"),
    "CuGraphSAGEConv": Refused("requires 'pylibcugraphops", needs="pylibcugraphops"),
    "DNAConv": Refused("Feature shape must be", lambda i, o: geometric.DNAConv(i)),
    "DirGNNConv": Works(lambda i, o: geometric.DirGNNConv(geometric.SAGEConv(i, o))),
    "DynamicEdgeConv": Refused(NO_EDGES),
    "EGConv": Works(),
    "EdgeConv": Works(lambda i, o: geometric.EdgeConv(mlp(2 * i, o))),
    "FAConv": Refused("needs x_0"),
    "FastRGCNConv": Refused(
        "called with x, edge_index and not edge_type", lambda i, o: geometric.FastRGCNConv(i, o, num_relations=1)
    ),
    "FeaStConv": Works(),
    "FiLMConv": Works(),
    "FusedGATConv": Refused(NO_EDGES),
    "GATConv": Works(),
    "GATv2Conv": Works(),
    "GCN2Conv": Refused("needs x_0"),
    "GCNConv": Works(distance=True),
    "GENConv": Works(),
    "GINConv": Works(lambda i, o: geometric.GINConv(mlp(i, o))),
    "GINEConv": Works(lambda i, o: geometric.GINEConv(mlp(i, o), edge_dim=1), distance=True),
    "GMMConv": Works(lambda i, o: geometric.GMMConv(i, o, dim=1, kernel_size=3), distance=True),
    "GPSConv": Works(lambda i, o: geometric.GPSConv(i, geometric.GATv2Conv(i, i, edge_dim=1), heads=4), distance=True),
    "GatedGraphConv": Works(lambda i, o: geometric.GatedGraphConv(o, num_layers=2), distance=True),
    "GeneralConv": Works(),
    "GraphConv": Works(distance=True),
    "GravNetConv": Refused(NO_EDGES),
    "HANConv": Refused(NO_EDGES),
    "HEATConv": Refused("needs node_type, edge_type"),
    "HGTConv": Refused(NO_EDGES),
    "HeteroConv": Refused(
        "HeteroConv fails on a small graph",
        lambda i, o: geometric.HeteroConv({("spot", "near", "spot"): geometric.SAGEConv(i, o)}),
    ),
    "HypergraphConv": Works(),
    "LEConv": Works(distance=True),
    "LGConv": Works(lambda i, o: geometric.LGConv(), distance=True),
    "MFConv": Works(),
    "MeshCNNConv": Refused("MeshCNNConv fails on a small graph"),
    "MessagePassing": Refused("MessagePassing returned a NoneType", lambda i, o: geometric.MessagePassing()),
    "MixHopConv": Works(lambda i, o: geometric.MixHopConv(i, o // 2, powers=[0, 1]), distance=True),
    "NNConv": Works(lambda i, o: geometric.NNConv(i, o, nn.Linear(1, i * o)), distance=True),
    "PANConv": Refused(
        "requires 'torch-sparse'", lambda i, o: geometric.PANConv(i, o, filter_size=2), needs="torch_sparse"
    ),
    "PDNConv": Works(lambda i, o: geometric.PDNConv(i, o, edge_dim=1, hidden_channels=8), distance=True),
    "PNAConv": Works(
        lambda i, o: geometric.PNAConv(i, o, ["mean", "max"], ["identity"], torch.tensor([0, 1]), edge_dim=1),
        distance=True,
    ),
    "PPFConv": Refused("needs pos, normal"),
    "PointGNNConv": Refused("needs pos"),
    "PointNetConv": Refused("needs pos"),
    "PointTransformerConv": Refused("needs pos"),
    "RGATConv": Refused("and not edge_type", lambda i, o: geometric.RGATConv(i, o, num_relations=1)),
    "RGCNConv": Refused(
        "not edge_type: AssertionError: assert edge_type is not None",
        lambda i, o: geometric.RGCNConv(i, o, num_relations=1),
    ),
    "ResGatedGraphConv": Works(),
    "SAGEConv": Works(),
    "SGConv": Works(distance=True),
    "SSGConv": Works(lambda i, o: geometric.SSGConv(i, o, alpha=0.1, K=2), distance=True),
    "SignedConv": Refused("needs neg_edge_index"),
    "SimpleConv": Works(lambda i, o: geometric.SimpleConv("mean"), distance=True),
    "SplineConv": Refused(
        "requires", lambda i, o: geometric.SplineConv(i, o, dim=1, kernel_size=3), needs="torch_spline_conv"
    ),
    "SuperGATConv": Works(),
    "TAGConv": Works(distance=True),
    "TransformerConv": Works(),
    "WLConv": Refused("WLConv fails on a small graph.*AssertionError", lambda i, o: geometric.WLConv()),
    "WLConvContinuous": Works(lambda i, o: geometric.WLConvContinuous(), distance=True),
    "XConv": Refused(NO_EDGES),
}
"""A row for each name in ``torch_geometric.nn.conv``."""

OPTIONS: dict[str, Works] = {
    "AntiSymmetricConv(GATConv(edge_dim=1))": Works(
        lambda i, o: geometric.AntiSymmetricConv(i, geometric.GATConv(i, i, edge_dim=1)), distance=True
    ),
    "CGConv(dim=0)": Works(lambda i, o: geometric.CGConv(i)),
    "GAT of two layers": Works(lambda i, o: geometric.GAT(i, o, num_layers=2)),
    "GAT(v2, edge_dim=1)": Works(lambda i, o: geometric.GAT(i, o, num_layers=2, v2=True, edge_dim=1), distance=True),
    "GATConv(heads=4, edge_dim=1)": Works(
        lambda i, o: geometric.GATConv(i, o // 4, heads=4, edge_dim=1), distance=True
    ),
    "GATv2Conv(edge_dim=1)": Works(lambda i, o: geometric.GATv2Conv(i, o, edge_dim=1), distance=True),
    "GENConv(edge_dim=1)": Works(lambda i, o: geometric.GENConv(i, o, edge_dim=1), distance=True),
    "GPSConv(SAGEConv)": Works(lambda i, o: geometric.GPSConv(i, geometric.SAGEConv(i, i), heads=4)),
    "GPSConv(None)": Works(lambda i, o: geometric.GPSConv(i, None, heads=4)),
    "GPSConv(performer)": Works(
        lambda i, o: geometric.GPSConv(i, geometric.GCNConv(i, i), heads=4, attn_type="performer"),
        distance=True,
        apart=False,  # its sum over the spots includes those that fill up the smaller section
    ),
    "GPSConv(graph_norm)": Works(
        lambda i, o: geometric.GPSConv(i, geometric.GINConv(mlp(i, i)), heads=4, norm="graph_norm")
    ),
    "GeneralConv(in_edge_channels=1)": Works(
        lambda i, o: geometric.GeneralConv(i, o, in_edge_channels=1), distance=True
    ),
    "PNAConv without edges": Works(
        lambda i, o: geometric.PNAConv(i, o, ["mean", "max"], ["identity"], torch.tensor([0, 1]))
    ),
    "ResGatedGraphConv(edge_dim=1)": Works(lambda i, o: geometric.ResGatedGraphConv(i, o, edge_dim=1), distance=True),
    "SAGEConv(-1)": Works(lambda i, o: geometric.SAGEConv(-1, o)),
    "Sequential": Works(
        lambda i, o: geometric.Sequential(
            "x, edge_index, edge_attr",
            [(geometric.GATConv(i, o, edge_dim=1), "x, edge_index, edge_attr -> x"), nn.Linear(o, o)],
        ),
        distance=True,
    ),
    "TransformerConv(edge_dim=1)": Works(lambda i, o: geometric.TransformerConv(i, o, edge_dim=1), distance=True),
}
"""The same with other options, and what wraps them."""

WORK = {name: row for name, row in {**CONVOLUTIONS, **OPTIONS}.items() if isinstance(row, Works)}


def section(n: int, seed: int) -> Data:
    rng = np.random.default_rng(seed)
    edge_index, distance = knn_edges(torch.from_numpy(rng.uniform(0, 4, (n, 2))), 3)
    x = torch.from_numpy(rng.normal(size=(n, C))).float()
    return Data(x=x, edge_index=edge_index, edge_attr=distance[:, None])


def output(model: GNN, data: Data) -> Tensor:
    with torch.no_grad():
        return model(data.x, data.edge_index, data.edge_attr, data.get("batch"))  # type: ignore[no-any-return]


def test_each_has_a_row() -> None:
    assert set(CONVOLUTIONS) == set(convolutions.__all__)


@pytest.mark.parametrize("name", WORK)
def test_a_layer_works(name: str) -> None:
    row = WORK[name]
    torch.manual_seed(0)
    conv: Any = row.factory or getattr(geometric, name)
    model = GNN(C, 2, conv, act="tanh", norm="none", jk="last").eval()
    data = section(12, 0)
    out = output(model, data)
    assert out.shape == (12, C)
    assert torch.isfinite(out).all()

    # The order of the spots does not matter: the old spot i is now at order.argsort()[i].
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    moved = Data(x=data.x[order], edge_index=order.argsort()[data.edge_index], edge_attr=data.edge_attr)
    torch.testing.assert_close(output(model, moved), out[order], rtol=1e-4, atol=1e-5)

    # The sections of a batch are as if alone.
    sections = [data, section(5, 1), section(9, 2)]
    if row.apart:
        alone = torch.cat([output(model, each) for each in sections])
        torch.testing.assert_close(output(model, Batch.from_data_list(sections)), alone, rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ValueError, match="mixes the sections of a batch; set batch_size=1"):
            output(model, Batch.from_data_list(sections))

    # The neighbors and, where it is used, their distance are felt.
    far = Data(x=data.x, edge_index=data.edge_index, edge_attr=data.edge_attr**2 + 3)
    assert bool((output(model, far) - out).abs().max() > 1e-5) == row.distance
    apart = Data(x=data.x, edge_index=data.edge_index[:, :0], edge_attr=data.edge_attr[:0])
    assert (output(model, apart) - out).abs().max() > 1e-5 or name == "GPSConv(None)"


@pytest.mark.parametrize("name", [name for name, row in CONVOLUTIONS.items() if row.factory is not None])
def test_a_class_that_two_widths_do_not_build_says_which_factory_does(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{name} .*factory.*: gnn=lambda i, o: {name}\("):
        GNN(C, 2, getattr(geometric, name))


@pytest.mark.parametrize("name", [name for name, row in CONVOLUTIONS.items() if isinstance(row, Refused)])
def test_a_layer_is_refused_for_its_reason(name: str) -> None:
    row = CONVOLUTIONS[name]
    assert isinstance(row, Refused)
    if row.needs and find_spec(row.needs):
        pytest.skip(f"{row.needs} is installed")
    with pytest.raises((TypeError, ValueError, ImportError), match=rf"(?s){row.reason}"):
        GNN(C, 2, row.factory or getattr(geometric, name))
