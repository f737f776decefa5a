"""The graph stage: neighboring spots exchange messages, [N, C] -> [N, C].

To add a layer, write a builder ``(in_channels, out_channels, **kwargs) -> module`` and add one line to :data:`CONVS`.
If the layer reads one hop, add its class to :data:`ONE_HOP`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric import nn as gnn
from torch_geometric.nn.resolver import activation_resolver

from hist2st_pyg.nn.graph_arguments import EDGE_WEIGHTS, EdgeWeight, edge_arguments, takes
from hist2st_pyg.nn.graph_check import check_class, check_layer, check_separate, features, small_graph
from hist2st_pyg.nn.jumping_knowledge import JUMPING_KNOWLEDGE, NORMS
from hist2st_pyg.utils.resolver import check_choice, resolve
from hist2st_pyg.utils.scatter import scatter

ConvFactory = Callable[[int, int], nn.Module]
"""``(in_channels, out_channels) -> layer``, called once for each depth."""


class Hist2STConv(gnn.MessagePassing):  # type: ignore[misc]
    r"""The paper's aggregation :math:`W · \mathrm{aggregate}_{j ∈ N(i)} h_j` (Zeng et al. 2022): no self term, no bias.

    ReLU and L2 normalization follow in the paper; :class:`GNN` applies them. A spot without neighbors gets 0. The
    initial weights are Xavier-uniform (Glorot & Bengio 2010), as in the original program.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        aggr: ``"mean"`` or ``"max"`` over the neighbors.

    Shapes:
        - x [N, in_channels], edge_index [2, E] (source, target) -> [N, out_channels]

    Raises:
        ValueError: If ``aggr`` is unknown.
    """

    def __init__(self, in_channels: int, out_channels: int, aggr: str = "mean") -> None:
        check_choice(("max", "mean"), aggr, "aggr")
        super().__init__(aggr=aggr)
        self.reduce = aggr
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        nn.init.xavier_uniform_(self.lin.weight)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.lin(self.propagate(edge_index, x=x))  # type: ignore[no-any-return]

    def message(self, x_j: Tensor) -> Tensor:
        return x_j

    def aggregate(
        self, inputs: Tensor, index: Tensor, ptr: Tensor | None = None, dim_size: int | None = None
    ) -> Tensor:
        """Reduce the messages of each target; a target without messages gets 0."""
        return scatter(inputs, index, dim_size, self.reduce)


def _heads(conv: Callable[..., nn.Module], in_channels: int, out_channels: int, heads: int, **kwargs: Any) -> nn.Module:
    """Divide ``out_channels`` among the heads, which are concatenated; edge features are one number, the distance."""
    if out_channels % heads:
        raise ValueError(f"{conv.__name__}: heads={heads} does not divide the width {out_channels}.")
    layer: nn.Module = conv(in_channels, out_channels // heads, heads=heads, **{"edge_dim": 1, **kwargs})
    return layer


def _gat(in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> nn.Module:
    """Attention to neighbors (Veličković et al. 2018), 4 heads."""
    return _heads(gnn.GATConv, in_channels, out_channels, heads, **kwargs)


def _gatv2(in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> nn.Module:
    """Attention whose ranking of neighbors depends on the spot (Brody et al. 2022), 4 heads."""
    return _heads(gnn.GATv2Conv, in_channels, out_channels, heads, **kwargs)


def _transformer(in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> nn.Module:
    """A Transformer's attention over neighbors (Shi et al. 2021), 4 heads."""
    return _heads(gnn.TransformerConv, in_channels, out_channels, heads, **kwargs)


def _gin(in_channels: int, out_channels: int, **kwargs: Any) -> nn.Module:
    """An MLP of the neighbors' sum (Xu et al. 2019), its epsilon trained."""
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
    """Several aggregations concatenated (Corso et al. 2020): mean, max and deviation."""
    # In a kNN graph every spot has the same in-degree, so degree scalers have no effect. Other graphs need ``deg``, the
    # histogram of in-degrees of the training sections.
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
"""Layers that read only a spot's direct neighbors."""


def conv_resolver(conv: str | ConvFactory, **kwargs: Any) -> ConvFactory | None:
    """Turn a key, a class or a factory into a factory of layers; None for ``"none"``.

    Args:
        conv: A key of :data:`CONVS`, a PyG convolution's class, or a function ``(in_channels, out_channels) -> layer``.
        kwargs: Further arguments of the layer.

    Raises:
        TypeError: If ``conv`` is an instance, or a class that ``(in_channels, out_channels)`` does not build; the
            message shows a factory that does. In the factory: if the layer does not take the arguments.
        ValueError: If the key is unknown; the message lists the choices.

    >>> conv_resolver("gat", heads=2)(16, 16)
    GATConv(16, 8, heads=2)
    """
    if isinstance(conv, nn.Module):
        raise TypeError(
            f"gnn={type(conv).__name__}(...) is an instance, but each depth needs its own weights; pass the class, a "
            "key, or a factory (in_channels, out_channels) -> layer."
        )
    factory = conv if callable(conv) else resolve(CONVS, conv, "gnn")
    if isinstance(factory, type) and issubclass(factory, nn.Module):
        check_class(factory, kwargs)
    if factory is None:
        return None

    def build(in_channels: int, out_channels: int) -> nn.Module:
        try:
            return factory(in_channels, out_channels, **kwargs)
        except TypeError as error:
            given = ", ".join(map(str, (in_channels, out_channels, *(f"{k}={v!r}" for k, v in kwargs.items()))))
            name = conv if isinstance(conv, str) else getattr(conv, "__name__", conv)
            raise TypeError(f"gnn={name} cannot be built with ({given}): {error}.") from error

    return build


class GNN(nn.Module):
    """A stack of graph convolutions and jumping knowledge over their depths.

    Each layer computes ``h <- norm(act(conv(h)))``, applies dropout, and adds its input if ``residual``. The defaults
    are the paper's, so that another ``conv`` changes only the message passing.

    Args:
        channels: Width C.
        num_layers: Number of layers.
        conv: A key of :data:`CONVS`, a PyG convolution's class, or a factory ``(in_channels, out_channels) -> layer``.
        conv_kwargs: Further arguments of each layer.
        act: Name of a PyG activation.
        norm: A key of :data:`NORMS`.
        residual: Add each layer's input to its output.
        dropout: Dropout after each layer.
        jk: A key of :data:`JUMPING_KNOWLEDGE`.
        edge_weight: Maps the distance to the weight of an edge: a key of :data:`EDGE_WEIGHTS` or a function
            ``(distance [E]) -> weight [E]``.

    Shapes:
        - x [N, C], edge_index [2, E] (source, target), edge_attr [E, 1] or [E] (distance in spot pitches), batch [N]
          (the section of each spot, if the batch has several) -> [N, C]

    Besides ``x`` and ``edge_index`` a layer receives ``edge_attr`` [E, 1], ``edge_weight`` [E] and ``batch`` [N] if its
    ``forward`` takes them: required arguments always, optional ones unless it is a PyG layer built without
    (``edge_dim=None``). A layer that passes ``**kwargs`` to inner layers receives what they take. It returns its
    features [N, C], or a pair (features, attention) whose attention is ignored. Each layer is tested once on a small
    graph when it is built.

    Raises:
        TypeError: If ``(in_channels, out_channels)`` does not build a layer, or a layer needs other arguments.
        ValueError: If a key is unknown, layers share weights, or a layer fails on a small graph, changes its input or
            the width, or returns values that are not finite. In ``forward``: if a layer mixes the sections of a batch.
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
        jk: str = "hist2st",
        edge_weight: str | EdgeWeight = "inverse",
    ) -> None:
        super().__init__()
        factory = conv_resolver(conv, **(conv_kwargs or {}))
        build_norm = resolve(NORMS, norm, "norm")
        build_jk = resolve(JUMPING_KNOWLEDGE, jk, "jk")
        self.edge_weight = edge_weight if callable(edge_weight) else resolve(EDGE_WEIGHTS, edge_weight, "edge_weight")
        if num_layers < 0:
            raise ValueError(f"The number of graph layers must be 0 or more, got gnn_layers={num_layers}.")
        depth = 0 if factory is None else num_layers
        layers = [factory(channels, channels) for _ in range(depth) if factory is not None]
        apart = []
        if layers:
            graph = small_graph(channels)
            graph.update(self._edges(graph.edge_attr))
            apart = [check_layer(layer, graph) for layer in layers]
        check_separate(layers)
        self.convs = nn.ModuleList(layers)
        self.norms = nn.ModuleList(build_norm(channels) for _ in range(depth))
        self.act = activation_resolver(act)
        self.residual = residual
        self.dropout = nn.Dropout(dropout)
        self.jk = build_jk(channels, depth) if depth else None
        self.edge_arguments = [edge_arguments(layer) for layer in layers]
        self.batch_arguments = [takes(layer, "batch") for layer in layers]
        self.mixing = sorted({type(layer).__name__ for layer, alone in zip(layers, apart, strict=True) if not alone})

    @property
    def hops(self) -> int | None:
        """The largest distance, in edges, from which a spot can change a prediction.

        A layer that is not in :data:`ONE_HOP` states its reach in an integer attribute ``hops``. None, which means the
        whole section, if a layer does not.
        """
        hops = [1 if type(layer) in ONE_HOP else getattr(layer, "hops", None) for layer in self.convs]
        if not all(isinstance(reach, int) for reach in hops):
            return None
        # GCN weights an edge by the degree of its source, whose neighbors are one edge farther away.
        degrees = any(isinstance(layer, gnn.GCNConv) for layer in self.convs)
        return sum(reach for reach in hops if reach is not None) + degrees

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None, batch: Tensor | None = None
    ) -> Tensor:
        if self.mixing and batch is not None and bool((batch != batch[0]).any()):
            raise ValueError(
                f"{', '.join(self.mixing)} mixes the sections of a batch; set batch_size=1, or pass a layer whose "
                "forward takes batch and separates the sections."
            )
        edges = {} if edge_attr is None else self._edges(edge_attr)
        if batch is None and any(self.batch_arguments):
            batch = edge_index.new_zeros(len(x))
        depths = []
        for conv, norm, wanted, batched in zip(
            self.convs, self.norms, self.edge_arguments, self.batch_arguments, strict=True
        ):
            given = {name: value for name, value in edges.items() if name in wanted}
            h = features(conv(x, edge_index, **given, **({"batch": batch} if batched else {})))
            h = self.dropout(norm(self.act(h)))
            x = x + h if self.residual else h
            depths.append(x)
        return self.jk(depths) if self.jk is not None else x

    def _edges(self, edge_attr: Tensor) -> dict[str, Tensor]:
        """The edge arguments of the layers."""
        distance = edge_attr if edge_attr.dim() == 1 else edge_attr[:, 0]
        edges = {"edge_attr": edge_attr if edge_attr.dim() > 1 else edge_attr[:, None]}
        if self.edge_weight is None:
            return edges
        weight = self.edge_weight(distance)
        if weight.shape != distance.shape:
            raise ValueError(
                f"edge_weight returned {list(weight.shape)} for distances {list(distance.shape)}; shapes must match."
            )
        return {**edges, "edge_weight": weight}
