"""Hist2ST: vision, Transformer, graph, expression (Figure 1 of Zeng et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.models.base import section_ptr
from hist2st_pyg.models.counts import CountsModel
from hist2st_pyg.models.kernel_stream import KernelStream
from hist2st_pyg.nn.gnn import GNN, ConvFactory
from hist2st_pyg.nn.graph_arguments import EdgeWeight
from hist2st_pyg.nn.heads import ExpressionHead
from hist2st_pyg.nn.transformer import SpotTransformer
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments, vision_resolver
from hist2st_pyg.utils.bounds import check_least


class Stream(nn.Module):
    """Vision, Transformer and graph stages, each [N, C] -> [N, C], and the expression head [N, C] -> [N, G]."""

    def __init__(self, vision: nn.Module, transformer: SpotTransformer, gnn: GNN, expression: ExpressionHead) -> None:
        super().__init__()
        self.channels = int(vision.out_channels)  # type: ignore[arg-type]
        self.vision: nn.Module = vision
        self.transformer: SpotTransformer = transformer
        self.gnn: GNN = gnn
        self.expression: ExpressionHead = expression


class Hist2ST(CountsModel):
    r"""Spatial gene expression from a section's patches (Zeng et al., *Briefings in Bioinformatics* 2022).

    For the patches x of a section's spots, their array positions p and the graph E,

    .. math:: h = \mathrm{GNN}(\mathrm{Transformer}(\mathrm{Vision}(x) + \mathrm{Position}(p)), E), \qquad y = W h + b

    and the likelihood's parameters are computed from h. Every stage is [N, C] -> [N, C] and can be chosen by key or
    replaced. The defaults are the paper's, except for the form of the likelihood.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``.
        vision_kwargs: Further arguments of the encoder.
        transformer_layers: Transformer blocks; with 0 the stage only adds the position embedding.
        heads: Attention heads.
        dim_head: Width of a head.
        mlp_channels: Hidden width of the Transformer's MLP; None means C.
        position: Embedding of the array position, a key of ``nn.transformer.POSITIONS``; ``"table"`` is learned.
        n_pos: Array columns and rows in the position table.
        gnn: A key of ``nn.CONVS``, a PyG convolution's class, or a factory ``(in_channels, out_channels) -> layer``.
        gnn_kwargs: Further arguments of each layer.
        gnn_layers: Number of graph layers.
        gnn_act: Activation after each graph layer, by PyG's name.
        gnn_norm: Normalization after it, a key of ``nn.NORMS``.
        gnn_residual: Add each graph layer's input to its output.
        gnn_dropout: Dropout after each graph layer.
        gnn_edge_weight: The ``edge_weight`` as a function of distance, for layers that take one: a key of
            ``nn.EDGE_WEIGHTS`` or a function ``(distance [E], in spot pitches) -> weight [E]``.
        jk: Jumping knowledge over the layers, a key of ``nn.JUMPING_KNOWLEDGE``.
        seen_scales: Number of fields of view that the streams see; None means all.
        color_stream: Add a stream of color and texture statistics; it has its own Transformer and graph, and the
            predicted expression is the streams' mean.
        kernel_stream: Average with a kernel ridge regression. It is fitted before training to color statistics of all
            fields of view, standardized within the section; at prediction its expression is averaged with the
            streams'.
        likelihood: Likelihood of the counts, a key of ``nn.LIKELIHOODS``, or None.
        published_likelihood: Use the published form of the likelihood; the default form is exact or bounded (see
            ``nn.ZINB`` and ``nn.NB``). The ``paper`` preset sets it.
        detach_likelihood: Train it without a gradient to other stages.
        n_views: Number of augmented views for self-distillation; 0 builds no averaging weights.
        dropout: Dropout of the Transformer.
        attention: Spots that a spot attends to. ``"full"`` is the paper's; ``"local"`` is for sections of many thousand
            spots: see :class:`~hist2st_pyg.nn.SpotTransformer`.
        attention_window: Side of ``"local"`` in array steps.

    Shapes:
        ``forward(data)`` gives a dict: ``expression`` [N, G] (log10), ``embedding`` [N, C]; with ``"zinb"`` also
        ``mean`` (before the size factor), ``dispersion``, ``dropout`` [N, G]; with ``"nb"`` ``log_r``, ``logit_p``;
        with ``color_stream`` also ``streams`` [2, N, G], and ``embedding`` concatenates both streams'.

    Raises:
        TypeError: If ``gnn`` or ``vision`` is an instance, or ``gnn`` a class that cannot be built from two widths.
        ValueError: If a key is unknown (the message lists the choices), a graph layer does not return finite features
            [N, C], or ``color_stream`` or ``kernel_stream`` is combined with precomputed embeddings.

    >>> from hist2st_pyg.data import to_data
    >>> from hist2st_pyg.datasets import load_sections
    >>> (section,) = load_sections("synthetic", names=["A1"], spots=16)
    >>> data = to_data(section, ["GENE1", "GENE2"], patch_size=32)
    >>> model = Hist2ST(2, patch_size=32, vision="cnn", transformer_layers=1, heads=2, dim_head=8, gnn="gat")
    >>> {name: list(value.shape) for name, value in model(data).items() if name in ("expression", "embedding")}
    {'expression': [16, 2], 'embedding': [16, 128]}
    """

    key = "hist2st"
    streams: Sequence[Stream]

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        n_scales: int = 1,
        vision: str | EncoderFactory = "convmixer",
        vision_kwargs: dict[str, Any] | None = None,
        transformer_layers: int = 8,
        heads: int = 16,
        dim_head: int = 64,
        mlp_channels: int | None = None,
        position: str = "table",
        n_pos: int = 64,
        gnn: str | ConvFactory = "hist2st",
        gnn_kwargs: dict[str, Any] | None = None,
        gnn_layers: int = 4,
        gnn_act: str = "relu",
        gnn_norm: str = "l2",
        gnn_residual: bool = False,
        gnn_dropout: float = 0.0,
        gnn_edge_weight: str | EdgeWeight = "inverse",
        jk: str = "hist2st",
        seen_scales: int | None = None,
        color_stream: bool = False,
        kernel_stream: bool = False,
        likelihood: str | None = "zinb",
        published_likelihood: bool = False,
        detach_likelihood: bool = False,
        n_views: int = 0,
        dropout: float = 0.2,
        attention: str = "full",
        attention_window: int = 16,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        least = {"transformer_layers": 0, "n_views": 0, "heads": 1, "dim_head": 1, "n_pos": 1}
        check_least(config, least if seen_scales is None else least | {"seen_scales": 1})
        for name in ("dropout", "gnn_dropout"):
            if not 0 <= config[name] < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {config[name]}.")
        for name in ("color_stream", "kernel_stream"):
            if config[name] and vision == "precomputed":
                raise ValueError(f"Precomputed embeddings have no patches to compute statistics of; set {name}=False.")
        super().__init__(n_genes, n_scales)

        def stream(encoder: nn.Module) -> Stream:
            channels = int(encoder.out_channels)  # type: ignore[arg-type]
            return Stream(
                encoder,
                SpotTransformer(
                    channels,
                    transformer_layers,
                    heads,
                    dim_head,
                    mlp_channels,
                    dropout,
                    position,
                    n_pos,
                    attention=attention,
                    window=attention_window,
                ),
                GNN(
                    channels,
                    gnn_layers,
                    gnn,
                    gnn_kwargs,
                    gnn_act,
                    gnn_norm,
                    gnn_residual,
                    gnn_dropout,
                    jk,
                    gnn_edge_weight,
                ),
                ExpressionHead(channels, n_genes),
            )

        encoder = vision_resolver(vision, patch_size, n_scales, seen_scales, **(vision_kwargs or {}))
        self.config = {**config, "vision_kwargs": rebuild_arguments(encoder, vision_kwargs)}
        streams = [stream(encoder)]
        if color_stream:
            channels = streams[0].channels // min(seen_scales or n_scales, n_scales)
            options = {"out_channels": channels, "dropout": gnn_dropout}
            streams.append(stream(vision_resolver("color_texture", patch_size, n_scales, seen_scales, **options)))
        self.streams = nn.ModuleList(streams)  # type: ignore[assignment]
        self.kernel = KernelStream(n_genes, patch_size, n_scales) if kernel_stream else None
        self.remembers = kernel_stream
        width = sum(part.channels for part in streams)
        self.add_heads(width, likelihood, published_likelihood, detach_likelihood, n_views)

    @property
    def vision(self) -> nn.Module:
        """The vision stage of the first stream."""
        return self.streams[0].vision

    @property
    def gnn(self) -> GNN:
        """The graph stage of the first stream."""
        return self.streams[0].gnn

    @property
    def num_hops(self) -> int | None:
        """The number of hops of the graph layers."""
        return self.streams[0].gnn.hops

    @property
    def attends(self) -> str | None:
        """The ``attention`` argument; None without Transformer blocks."""
        return self.streams[0].transformer.attends

    @property
    def vision_stages(self) -> list[nn.Module]:
        """The vision stage of each stream, then the kernel stream's."""
        return [*(stream.vision for stream in self.streams), *([self.kernel.vision] if self.kernel is not None else [])]

    @property
    def section_features(self) -> Callable[[Data], Tensor] | None:
        """The section features of the kernel stream."""
        return self.kernel.section_features if self.kernel is not None else None

    def features(self, data: Data) -> list[Tensor]:
        """Compute each vision stage's features; the streams and the kernel share the patch statistics."""
        if self.kernel is None:
            return super().features(data)
        data = self.kernel.with_statistics(data)
        return [*(self.encode(stream.vision, data) for stream in self.streams), data.statistics]

    def remember(self, train: Sequence[Data | SectionParts]) -> None:
        """Fit the kernel stream."""
        if self.kernel is not None:
            self.kernel.remember(train)

    def predict_expression(self, data: Data, features: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        ptr = section_ptr(data)
        batch = torch.repeat_interleave(torch.tensor(ptr).diff()).to(data.edge_index.device) if len(ptr) > 2 else None
        kernel = self.kernel if self.kernel is not None and not self.training and len(self.kernel.spots) else None
        if kernel is not None and features is None:
            data = kernel.with_statistics(data)  # the color stream reads them too
        embeddings, expressions = [], []
        # One stream after the other, so that memory holds the features of one stream at a time.
        given = features or (self.encode(stream.vision, data) for stream in self.streams)
        for stream, h in zip(self.streams, given, strict=False):  # a kernel stream's features come last
            h = stream.transformer(h, data.grid, ptr)
            h = stream.gnn(h, data.edge_index, data.edge_attr, batch)
            embeddings.append(h)
            expressions.append(self.unstandardize(stream.expression(h)))
        out = {"expression": torch.stack(expressions).mean(0), "embedding": torch.cat(embeddings, dim=1)}
        if kernel is not None:
            with torch.autocast(data.edge_index.device.type, enabled=False):  # distances need single precision
                h = kernel.embed(data, features[-1] if features else None)
                out["expression"] = (out["expression"] + kernel.predict(h)) / 2
        return out | ({"streams": torch.stack(expressions)} if len(expressions) > 1 else {})

    @classmethod
    def upgrade_state(cls, state: Mapping[str, Tensor], version: int) -> dict[str, Tensor]:
        """Move the weights of formats 1 and 2, in which the second stream was a complete model, to ``streams``."""
        if version > 2:
            return dict(state)
        upgraded = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if first == "stream":
                if not rest.startswith(("pixel_", "target_")):
                    upgraded[f"streams.1.{rest}"] = value
            elif first in ("vision", "transformer", "gnn", "expression"):
                upgraded[f"streams.0.{name}"] = value
            else:
                upgraded[name] = value
        return upgraded
