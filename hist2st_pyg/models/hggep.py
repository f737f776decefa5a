"""HGGEP: three feature maps, refined by attention, and a hypergraph over their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.models.base import section_ptr
from hist2st_pyg.models.counts import CountsModel
from hist2st_pyg.nn.gradient_enhancement import GradientEnhancement
from hist2st_pyg.nn.heads import ExpressionHead
from hist2st_pyg.nn.hypergraph import Hypergraph
from hist2st_pyg.nn.map_attention import MapAttention
from hist2st_pyg.nn.tiles import Tiles
from hist2st_pyg.nn.transformer import POSITIONS, SpotTransformer
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments
from hist2st_pyg.utils.bounds import check_least
from hist2st_pyg.utils.resolver import resolve


class EnhancedTiles(nn.Module):
    """The tiles of a patch, encoded after its gradient enhancement; [N, 3·S, P, P] -> [N, T²·C]."""

    def __init__(self, tiles: Tiles, channels: int) -> None:
        super().__init__()
        if tiles.takes != "normalized":
            raise ValueError(
                f"Gradient enhancement needs a vision stage that takes normalized patches, not {tiles.takes}; set "
                "enhance=False (model.enhance)."
            )
        self.takes, self.origin, self.out_channels = tiles.takes, tiles.origin, tiles.out_channels
        self.enhance = GradientEnhancement(channels)
        self.tiles = tiles

    def forward(self, x: Tensor) -> Tensor:
        return self.tiles(self.enhance(x))  # type: ignore[no-any-return]


class HGGEP(CountsModel):
    r"""Hypergraph network on three levels of patch features (Li et al., *Briefings in Bioinformatics* 2024).

    An encoder maps the patch and its gradient to features :math:`m_1`; a convolution maps them to :math:`m_2`, and
    max-pooling to :math:`m_3`. Attention refines each within the patch and between the spots,

    .. math::
        h_i = \mathrm{Transformer}_i(\mathrm{flat}(\mathrm{Attention}_i(m_i)) + \mathrm{Position}(p)), \qquad
        h = \overline{\mathrm{LSTM}}(h_1, h_2, h_3, \mathrm{Hypergraph}(h_1 + h_2 + h_3, E))

    Heads, likelihood and losses on h are those of :class:`Hist2ST`.

    As published: gradient enhancement, attention within and between spots, hyperedges, LSTM and heads; the defaults are
    the published class's. Changed, see ``docs/methods.md``: the features are tiles encoded by a vision stage that is
    trained from scratch, not ShuffleNetV2's with ImageNet weights; hyperedges join only graph neighbors and have no
    weights; dropout is off at prediction.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``.
        vision_kwargs: Further arguments of the encoder.
        enhance: Enhance the gradient of a patch, at half its resolution, before it is encoded; requires a vision stage
            that takes normalized patches.
        tiles: Tiles along a side of a patch, T.
        channels: Width C, a multiple of T².
        transformer_layers: Transformer blocks of each of the three stages.
        heads: Attention heads.
        dim_head: Width of a head.
        position: Embedding of the array position, a key of ``nn.transformer.POSITIONS``.
        n_pos: Array columns and rows in the position table.
        hyperedges: Hyperedges that a spot joins, see :class:`~hist2st_pyg.nn.hypergraph.Hypergraph`.
        hypergraph_dropout: Dropout between the hypergraph's convolutions.
        lstm_layers: Layers of the LSTM over the stages.
        likelihood: Likelihood of the counts, a key of ``nn.LIKELIHOODS``, or None.
        published_likelihood: Use the published form of the likelihood.
        detach_likelihood: Train it without a gradient to other stages.
        n_views: Number of augmented views for self-distillation; 0 builds no averaging weights.
        dropout: Dropout of the Transformers.
        attention: Spots that a spot attends to. See :class:`~hist2st_pyg.nn.SpotTransformer`. ``"local"`` is for
            sections of many thousand spots.
        attention_window: Side of ``"local"`` in array steps.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G], ``embedding`` [N, C] and the likelihood's parameters [N, G].

    Raises:
        ValueError: If T² does not divide C, a number is too small, or ``enhance`` does not fit the vision stage.
    """

    key = "hggep"

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        n_scales: int = 1,
        vision: str | EncoderFactory = "cnn",
        vision_kwargs: dict[str, Any] | None = None,
        enhance: bool = True,
        tiles: int = 4,
        channels: int = 1024,
        transformer_layers: int = 4,
        heads: int = 16,
        dim_head: int = 64,
        position: str = "table",
        n_pos: int = 64,
        hyperedges: int = 4,
        hypergraph_dropout: float = 0.5,
        lstm_layers: int = 4,
        likelihood: str | None = "zinb",
        published_likelihood: bool = False,
        detach_likelihood: bool = False,
        n_views: int = 0,
        dropout: float = 0.2,
        attention: str = "full",
        attention_window: int = 16,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        least = {"heads": 1, "dim_head": 1, "n_pos": 1, "hyperedges": 1, "lstm_layers": 1}
        check_least(config, {**least, "transformer_layers": 0, "n_views": 0})
        super().__init__(n_genes, n_scales)
        encoded = Tiles(
            vision, (patch_size + 1) // 2 if enhance else patch_size, tiles, n_scales, **(vision_kwargs or {})
        )
        self.vision: nn.Module = EnhancedTiles(encoded, 3 * n_scales) if enhance else encoded
        self.side, width = encoded.side, encoded.channels
        if channels < 1 or channels % self.side**2:
            raise ValueError(f"channels={channels} is not a multiple of the {self.side**2} tiles of a patch.")
        self.config = {**config, "vision_kwargs": rebuild_arguments(encoded.encoder, vision_kwargs)}
        per_tile = channels // self.side**2

        def refined(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(
                MapAttention(before), nn.BatchNorm2d(before), nn.Conv2d(before, after, 1), nn.Flatten()
            )

        self.deepen = nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.refine = nn.ModuleList(
            [refined(width, per_tile), refined(channels, per_tile), refined(channels, channels)]
        )
        self.position = resolve(POSITIONS, position, "position")(channels, n_pos)
        self.transformers = nn.ModuleList(
            SpotTransformer(
                channels,
                transformer_layers,
                heads,
                dim_head,
                channels,
                dropout,
                "none",
                attention=attention,
                window=attention_window,
            )
            for _ in self.refine
        )
        self.hypergraph = Hypergraph(channels, channels // 2, hyperedges, hypergraph_dropout)
        self.lstm = nn.LSTM(channels, channels, lstm_layers)
        self.expression = ExpressionHead(channels, n_genes)
        self.add_heads(channels, likelihood, published_likelihood, detach_likelihood, n_views)

    @property
    def attends(self) -> str | None:
        """The ``attention`` argument; None without Transformer blocks."""
        return self.transformers[0].attends  # type: ignore[return-value]

    def predict_expression(self, data: Data, features: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        (flat,) = self.features(data) if features is None else features
        first = flat.view(len(flat), self.side, self.side, -1).permute(0, 3, 1, 2)
        deep = self.deepen(first)
        maps, ptr = [first, deep, deep.amax((2, 3), keepdim=True)], section_ptr(data)
        place = self.position(data.grid) if self.position is not None else 0
        stages = [
            transformer(refine(each) + place, data.grid, ptr)
            for refine, transformer, each in zip(self.refine, self.transformers, maps, strict=True)
        ]
        together = self.hypergraph(torch.stack(stages).sum(0), data.edge_index)
        h = self.lstm(torch.stack([*stages, together]))[0].mean(0)
        return {"expression": self.unstandardize(self.expression(h)), "embedding": h}
