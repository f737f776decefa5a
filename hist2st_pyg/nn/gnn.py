"""The graph stage: neighbouring spots exchange messages, [N, C] -> [N, C].

To add a layer, write a builder ``(in_channels, out_channels, **kwargs) -> module`` and add one line to :data:`CONVS`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import nn as gnn
from torch_geometric.nn.resolver import activation_resolver
from torch_scatter import scatter

from hist2st_pyg.choices import choose

ConvFactory = Callable[[int, int], nn.Module]
"""``(in_channels, out_channels) -> layer``, called once for each depth."""

AGGREGATIONS = ("mean", "max")
EDGE_OPTIONS = {"edge_dim", "in_edge_channels"}
"""How PyG's layers are told the width of edge features."""


class Hist2STConv(gnn.MessagePassing):  # type: ignore[misc]
    r"""The paper's aggregation :math:`W · \mathrm{aggregate}_{j ∈ N(i)} h_j` (Zeng et al. 2022): no self term, no bias.

    The paper follows it by ReLU and L2 normalisation, which :class:`GNN` applies. A spot without neighbours gets 0. The
    initial weights are Xavier's uniform ones (Glorot & Bengio 2010), as in the original program.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        aggr: ``"mean"`` or ``"max"`` over the neighbours.

    Shapes:
        - x [N, in_channels], edge_index [2, E] (source, target) -> [N, out_channels]

    Raises:
        ValueError: If ``aggr`` is neither.
    """

    def __init__(self, in_channels: int, out_channels: int, aggr: str = "mean") -> None:
        if aggr not in AGGREGATIONS:
            raise ValueError(f"Unknown aggr={aggr!r}. Choose one of: {', '.join(AGGREGATIONS)}.")
        super().__init__(aggr=aggr)
        self.reduce = aggr
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Aggregate the neighbours and project."""
        return self.lin(self.propagate(edge_index, x=x))  # type: ignore[no-any-return]

    def message(self, x_j: Tensor) -> Tensor:
        """The neighbour's feature itself."""
        return x_j

    def aggregate(
        self, inputs: Tensor, index: Tensor, ptr: Tensor | None = None, dim_size: int | None = None
    ) -> Tensor:
        """Reduce the messages of each target with torch-scatter, which gives 0 where there is none."""
        return scatter(inputs, index, dim=0, dim_size=dim_size, reduce=self.reduce)  # type: ignore[no-any-return]


def _heads(conv: Callable[..., nn.Module], in_channels: int, out_channels: int, heads: int, **kwargs: Any) -> nn.Module:
    """Divide the width among the heads, so that their concatenation is ``out_channels`` wide; the distance is used."""
    if out_channels % heads:
        raise ValueError(f"{conv.__name__}: heads={heads} does not divide the width {out_channels}.")
    layer: nn.Module = conv(in_channels, out_channels // heads, heads=heads, **{"edge_dim": 1, **kwargs})
    return layer


def _gat(in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> nn.Module:
    return _heads(gnn.GATConv, in_channels, out_channels, heads, **kwargs)


def _gatv2(in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> nn.Module:
    return _heads(gnn.GATv2Conv, in_channels, out_channels, heads, **kwargs)


def _transformer(in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> nn.Module:
    return _heads(gnn.TransformerConv, in_channels, out_channels, heads, **kwargs)


def _gin(in_channels: int, out_channels: int, **kwargs: Any) -> nn.Module:
    mlp = nn.Sequential(nn.Linear(in_channels, out_channels), nn.ReLU(), nn.Linear(out_channels, out_channels))
    layer: nn.Module = gnn.GINConv(mlp, **{"train_eps": True, **kwargs})
    return layer


def _pna(
    in_channels: int,
    out_channels: int,
    aggregators: Sequence[str] = ("mean", "max", "std"),
    scalers: Sequence[str] = ("identity",),
    deg: Sequence[int] = (0, 1),
    **kwargs: Any,
) -> nn.Module:
    # In a kNN graph every spot has the same in-degree, so the degree scalers say nothing; with others of them give
    # ``deg``, the histogram of in-degrees of the training sections.
    options = {"edge_dim": 1, **kwargs}
    layer: nn.Module = gnn.PNAConv(
        in_channels, out_channels, list(aggregators), list(scalers), torch.tensor(deg), **options
    )
    return layer


CONVS: dict[str, Callable[..., nn.Module] | None] = {
    "gat": _gat,
    "gatv2": _gatv2,
    "gcn": gnn.GCNConv,
    "gin": _gin,
    "graph": gnn.GraphConv,
    "hist2st": Hist2STConv,
    "none": None,
    "pna": _pna,
    "sage": gnn.SAGEConv,
    "transformer": _transformer,
}
"""The layers that can be chosen by key; ``"none"`` is the model without a graph."""


def conv_resolver(conv: str | ConvFactory, **kwargs: Any) -> ConvFactory | None:
    """Turn a key, a class or a factory into a factory of layers; None for ``"none"``.

    Args:
        conv: A key of :data:`CONVS`, a PyG convolution's class, or a function ``(in_channels, out_channels) -> layer``.
        kwargs: Further arguments of the layer.

    Raises:
        TypeError: If an instance is given.
        ValueError: If the key is unknown; the message lists the choices.
    """
    if isinstance(conv, nn.Module):
        raise TypeError(
            f"gnn={type(conv).__name__}(...) is an instance, but each depth needs its own weights; give the class, a "
            "key, or a factory (in_channels, out_channels) -> layer."
        )
    factory = conv if callable(conv) else choose(CONVS, conv, "gnn")
    return None if factory is None else functools.partial(factory, **kwargs)


def edge_arguments(conv: nn.Module) -> frozenset[str]:
    """Which of ``edge_attr`` and ``edge_weight`` a layer takes.

    A PyG layer that could have been built with edge features, but was not, is given none.
    """
    names = set(inspect.signature(conv.forward).parameters)
    options = EDGE_OPTIONS & set(inspect.signature(type(conv).__init__).parameters)
    built = any(getattr(conv, option, None) for option in options) or getattr(conv, "lin_edge", None) is not None
    if options and not built:
        names.discard("edge_attr")
    return frozenset(names & {"edge_attr", "edge_weight"})


class LSTMReadout(nn.Module):
    """The paper's read-out: a two-layer LSTM along depth, its outputs averaged over depth.

    Shapes:
        - depths, a list of L tensors [N, C] -> [N, C]
    """

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, 2)

    def forward(self, depths: list[Tensor]) -> Tensor:
        """Read the depths in order."""
        return self.lstm(torch.stack(depths))[0].mean(0)  # type: ignore[no-any-return]


class CatReadout(nn.Module):
    """All depths side by side, projected back to C."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels * num_layers, channels)

    def forward(self, depths: list[Tensor]) -> Tensor:
        """Concatenate and project."""
        return self.lin(torch.cat(depths, dim=-1))  # type: ignore[no-any-return]


class LastReadout(nn.Module):
    """The deepest layer's output."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()

    def forward(self, depths: list[Tensor]) -> Tensor:
        """Take the last."""
        return depths[-1]


READOUTS: dict[str, Callable[[int, int], nn.Module]] = {
    "cat": CatReadout,
    "hist2st": LSTMReadout,
    "last": LastReadout,
    "lstm": lambda channels, num_layers: gnn.JumpingKnowledge("lstm", channels, num_layers),
    "max": lambda channels, num_layers: gnn.JumpingKnowledge("max"),
}
"""The read-outs over depth; ``"hist2st"`` is the paper's, ``"lstm"`` is PyG's bidirectional LSTM with attention."""


class L2Norm(nn.Module):
    """The paper's normalisation: each spot's feature has length 1 (or 0)."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the rows."""
        return F.normalize(x, dim=-1)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "l2": L2Norm,
    "layer": nn.LayerNorm,
    "none": lambda channels: nn.Identity(),
}
"""The normalisations after each layer; all treat each spot alone, so that sections in one batch do not mix."""


class GNN(nn.Module):
    """A stack of graph convolutions and a read-out over their depths.

    Each layer is ``h <- norm(act(conv(h)))``, with dropout, and added to its input where ``residual``. The defaults are
    the paper's, so that swapping ``conv`` changes the message passing alone.

    Args:
        channels: Width C.
        num_layers: Number of layers.
        conv: A key of :data:`CONVS`, a PyG convolution's class, or a factory ``(in_channels, out_channels) -> layer``.
        conv_kwargs: Further arguments of each layer.
        act: Activation, by PyG's name.
        norm: A key of :data:`NORMS`.
        residual: Add each layer's input to its output.
        dropout: Dropout after each layer.
        readout: A key of :data:`READOUTS`.

    Shapes:
        - x [N, C], edge_index [2, E] (source, target), edge_attr [E, 1] (distance in spot pitches) -> [N, C]

    ``edge_attr`` reaches the layers that take it; layers with an ``edge_weight`` get 1 / (1 + distance).
    """

    def __init__(
        self,
        channels: int,
        num_layers: int = 4,
        conv: str | ConvFactory = "hist2st",
        conv_kwargs: dict[str, Any] | None = None,
        act: str = "relu",
        norm: str = "l2",
        residual: bool = False,
        dropout: float = 0.0,
        readout: str = "hist2st",
    ) -> None:
        super().__init__()
        factory = conv_resolver(conv, **(conv_kwargs or {}))
        build_norm = choose(NORMS, norm, "norm")
        build_readout = choose(READOUTS, readout, "readout")
        depth = 0 if factory is None else num_layers
        self.convs = nn.ModuleList(factory(channels, channels) for _ in range(depth) if factory is not None)
        self.norms = nn.ModuleList(build_norm(channels) for _ in range(depth))
        self.act = activation_resolver(act)
        self.residual = residual
        self.dropout = nn.Dropout(dropout)
        self.readout = build_readout(channels, depth) if depth else None
        self.edge_arguments = [edge_arguments(layer) for layer in self.convs]

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Exchange messages and read out."""
        edges = {} if edge_attr is None else {"edge_attr": edge_attr, "edge_weight": 1 / (1 + edge_attr[:, 0])}
        depths = []
        for conv, norm, wanted in zip(self.convs, self.norms, self.edge_arguments, strict=True):
            h = conv(x, edge_index, **{name: value for name, value in edges.items() if name in wanted})
            h = self.dropout(norm(self.act(h)))
            x = x + h if self.residual else h
            depths.append(x)
        return self.readout(depths) if self.readout is not None else x
