"""Hist2ST: vision, Transformer, graph, expression."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Data

from hist2st_pyg.models.base import ExpressionModel, section_ptr
from hist2st_pyg.nn.checkpointing import once_counted
from hist2st_pyg.nn.gnn import GNN, ConvFactory
from hist2st_pyg.nn.graph_arguments import EdgeWeight
from hist2st_pyg.nn.heads import LIKELIHOODS, Distillation, ExpressionHead
from hist2st_pyg.nn.transformer import SpotTransformer
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments, vision_resolver
from hist2st_pyg.utils.resolver import resolve


class Hist2ST(ExpressionModel):
    r"""Spatial gene expression from a section's patches (Zeng et al., *Briefings in Bioinformatics* 2022).

    Each spot's patch is encoded by the vision stage, all spots of a section attend to each other, neighbouring spots
    exchange messages, and the result gives each gene's expression and the parameters of its count distribution. Every
    stage is [N, C] -> [N, C] and can be chosen by key or replaced. The defaults are the paper's.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``.
        vision_kwargs: Further arguments of the encoder.
        transformer_layers: Transformer blocks; 0 leaves the stage out but for the position.
        heads: Attention heads.
        dim_head: Width of a head.
        mlp_channels: Hidden width of the Transformer's MLP; None means C.
        position: ``"table"`` (learned), ``"fourier"`` or ``"none"``.
        n_pos: Array columns and rows in the position table.
        gnn: A key of ``nn.CONVS``, a PyG convolution's class, or a factory ``(in_channels, out_channels) -> layer``.
        gnn_kwargs: Further arguments of each layer.
        gnn_layers: Number of graph layers.
        gnn_act: Activation after each graph layer, by PyG's name.
        gnn_norm: Normalisation after it, a key of ``nn.NORMS``.
        gnn_residual: Add each graph layer's input to its output.
        gnn_dropout: Dropout after each graph layer.
        gnn_edge_weight: How the distance becomes the ``edge_weight`` of layers that take one, a key of
            ``nn.EDGE_WEIGHTS`` or a function ``(distance [E], in spot pitches) -> weight [E]``.
        readout: Read-out over the graph layers, a key of ``nn.READOUTS``.
        statistics: Add a second stream of colour and texture statistics through a Transformer and a graph of its own;
            the expression is the streams' mean.
        likelihood: ``"zinb"``, ``"nb"`` or None.
        detach_likelihood: Fit the likelihood to the embedding as it is, without a gradient to the stages before it.
        views: Number of augmented views for self-distillation; 0 builds no weights for it.
        dropout: Dropout of the Transformer.

    Shapes:
        ``forward(data)`` gives a dict: ``expression`` [N, G] (log10), ``embedding`` [N, C]; with ``"zinb"`` also
        ``mean`` (before the size factor), ``dispersion``, ``dropout`` [N, G]; with ``"nb"`` ``log_r``, ``logit_p``;
        with ``statistics`` the ``streams`` [2, N, G], and embeddings of both side by side.

    Raises:
        TypeError: If ``gnn`` or ``vision`` is an instance, or ``gnn`` a class that two widths do not build.
        ValueError: If a key is unknown (the message lists the choices), a graph layer does not give finite features
            [N, C], or there are statistics of no patches.
    """

    key = "hist2st"

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
        readout: str = "hist2st",
        statistics: bool = False,
        likelihood: str | None = "zinb",
        detach_likelihood: bool = False,
        views: int = 0,
        dropout: float = 0.2,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if statistics and vision == "precomputed":
            raise ValueError("Precomputed embeddings have no patches to take statistics of; give statistics=False.")
        super().__init__(n_genes, n_scales)
        self.vision = vision_resolver(vision, patch_size, n_scales, **(vision_kwargs or {}))
        self.config = {**config, "vision_kwargs": rebuild_arguments(self.vision, vision_kwargs)}
        channels = int(self.vision.out_channels)  # type: ignore[arg-type]
        self.transformer = SpotTransformer(
            channels, transformer_layers, heads, dim_head, mlp_channels, dropout, position, n_pos
        )
        self.gnn = GNN(
            channels,
            gnn_layers,
            gnn,
            gnn_kwargs,
            gnn_act,
            gnn_norm,
            gnn_residual,
            gnn_dropout,
            readout,
            gnn_edge_weight,
        )
        self.expression = ExpressionHead(channels, n_genes)
        self.stream = self._statistics_stream(config, channels // n_scales) if statistics else None
        width = channels + (int(self.stream.vision.out_channels) if self.stream is not None else 0)  # type: ignore[arg-type]
        self.likelihood = resolve(LIKELIHOODS, likelihood, "likelihood")(width, n_genes) if likelihood else None
        self.detach_likelihood = detach_likelihood
        self.distillation = Distillation(width) if views else None

    @staticmethod
    def _statistics_stream(config: dict[str, Any], channels: int) -> Hist2ST:
        """The same stages on colour and texture statistics."""
        own = {
            "vision": "statistics",
            "vision_kwargs": {"out_channels": channels, "dropout": config["gnn_dropout"]},
            "statistics": False,
            "likelihood": None,
            "views": 0,
        }
        return Hist2ST(**{**config, **own})

    @property
    def graph_hops(self) -> int | None:
        """As far as the graph layers look."""
        return self.gnn.hops

    @property
    def attends(self) -> bool:
        """Where there are Transformer blocks."""
        return len(self.transformer.blocks) > 0

    def embed(self, data: Data) -> Tensor:
        """The embedding of each spot, [N, C]: vision, Transformer, graph."""
        h = self.encode(self.vision, data)
        ptr = section_ptr(data)
        h = self.transformer(h, data.grid, ptr)
        batch = torch.repeat_interleave(torch.tensor(ptr).diff()).to(h.device) if len(ptr) > 2 else None
        return self.gnn(h, data.edge_index, data.edge_attr, batch)  # type: ignore[no-any-return]

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``; each section of a batch is as if it were alone."""
        out = self._expression(data)
        if self.likelihood is not None:
            h = out["embedding"]
            out |= self.likelihood(h.detach() if self.detach_likelihood else h)
        return out

    def _expression(self, data: Data) -> dict[str, Tensor]:
        h = self.embed(data)
        expression = self.unstandardise(self.expression(h))
        if self.stream is None:
            return {"expression": expression, "embedding": h}
        other = self.stream.embed(data)
        streams = torch.stack([expression, self.unstandardise(self.stream.expression(other))])
        return {"expression": streams.mean(0), "embedding": torch.cat([h, other], dim=1), "streams": streams}

    def distil(self, views: Iterable[Data]) -> Tensor:
        """Combine the predictions for augmented views of the same spots into one, [N, G] (self-distillation).

        In training a view's activations are not kept but computed again for its gradient, so that memory does not grow
        with the number of views.

        Args:
            views: The same spots with augmented patches.

        Raises:
            ValueError: If the model was built without ``views``.
        """
        if self.distillation is None:
            raise ValueError("This model was built with views=0; build it with the number of views to distil from.")

        def predicted(view: Data) -> tuple[Tensor, Tensor]:
            out = self._expression(view)
            return out["embedding"], out["expression"]

        contexts = partial(once_counted, self)
        parts = [checkpoint(predicted, view, use_reentrant=False, context_fn=contexts) for view in views]
        h, expression = (torch.stack(part) for part in zip(*parts, strict=True))
        return self.distillation(h, expression)  # type: ignore[no-any-return]
