"""How far graph layers look: what decides which spots a part of a section needs around it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch_geometric import nn as gnn

from hist2st_pyg.nn.gnn import Hist2STConv

ONE_HOP = (
    gnn.GATConv,
    gnn.GATv2Conv,
    gnn.GCNConv,
    gnn.GINConv,
    gnn.GraphConv,
    gnn.PNAConv,
    gnn.SAGEConv,
    gnn.TransformerConv,
    Hist2STConv,
)
"""Layers that read a spot's neighbours and no others."""


def graph_hops(convs: Iterable[nn.Module]) -> int | None:
    """How many edges away a spot may be that these layers, one after the other, bring to a prediction.

    A layer of another class than :data:`ONE_HOP` says how far it looks by an integer attribute ``hops``.

    Returns:
        The number of edges; None where a layer does not say, which means the whole section.
    """
    layers = list(convs)
    hops = [1 if type(layer) in ONE_HOP else getattr(layer, "hops", None) for layer in layers]
    if not all(isinstance(reach, int) for reach in hops):
        return None
    # GCN weighs an edge by the neighbours of its source, which are one edge farther than the source.
    degrees = any(isinstance(layer, gnn.GCNConv) for layer in layers)
    return sum(reach for reach in hops if reach is not None) + degrees
