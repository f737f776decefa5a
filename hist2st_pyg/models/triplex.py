"""TRIPLEX: cross-attention fuses a spot, its surroundings and the whole section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg import losses
from hist2st_pyg.models.base import ExpressionModel, section_ptr
from hist2st_pyg.nn.array_convolution import ArrayConvolution
from hist2st_pyg.nn.tiles import Tiles
from hist2st_pyg.nn.token_attention import CrossTransformer, SquareTransformer
from hist2st_pyg.nn.transformer import SpotTransformer
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments


class Views(nn.Module):
    """Encodes the tokens of a spot, then of its surroundings, [N, 3·S, P, P] -> [N, C·tokens]."""

    def __init__(self, spot: Tiles, around: Tiles | None) -> None:
        super().__init__()
        self.takes, self.origin = spot.takes, spot.origin
        self.out_channels = spot.out_channels + (around.out_channels if around is not None else 0)
        self.spot, self.around = spot, around

    def forward(self, x: Tensor) -> Tensor:
        if self.around is None:
            return self.spot(x)  # type: ignore[no-any-return]
        near, far = x.chunk(2, dim=1)
        return torch.cat([self.spot(near), self.around(far)], dim=1)


class TRIPLEX(ExpressionModel):
    r"""Cross-attention fusion of three views of a spot (Chung et al., CVPR 2024).

    With the tokens :math:`t` of the spot's own field of view, the tokens :math:`n` of its surroundings, and its vector
    :math:`g`, which is :math:`\bar t` after attention to all spots of the section,

    .. math:: h = \mathrm{LayerNorm}(\mathrm{Cross}(g, t) + \mathrm{Cross}(g, n)), \qquad y = W h + b

    Each view also predicts expression, with a loss to the target and to the fused prediction:
    :math:`(1 - α) \lVert y_v - y^* \rVert^2 + α \lVert y_v - y \rVert^2`.

    As published: the encoders of the three views, the array convolution for the position, fusion, heads and losses; the
    defaults are the published class's. Changed, see ``docs/methods.md``: a vision stage trained from scratch encodes
    the tokens, not ResNet-18, which is pre-trained and frozen for two of the views; the surroundings are the second
    field of view of the data.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Fields of view in a patch's channels: 2, the spot's and its surroundings'. 1 leaves the surroundings
            out, one of the published ablations.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``; each field of
            view has its own.
        vision_kwargs: Further arguments of the encoders.
        tiles: Tiles along a side of the spot's own field of view.
        tiles_around: Tiles along a side of its surroundings.
        layers: Blocks of each of the three Transformers.
        heads: Attention heads, a divisor of the encoder's width C.
        mlp_ratio: Hidden width of the MLPs, divided by C.
        dropout: Dropout of the Transformers.
        kernel_size: Side of the array convolution in array steps, odd.
        alpha: Weight α of the fused prediction in the loss of each view.
        attention: Spots that a spot attends to. See :class:`~hist2st_pyg.nn.SpotTransformer`.
        attention_window: Side of ``"local"`` in array steps.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G], ``embedding`` [N, C], and the prediction of each view [N, G]:
        ``spot``, ``section``, and with two fields of view ``around``.

    Raises:
        ValueError: If there are more than two fields of view, or two of embeddings, ``heads`` does not divide C, or a
            number is out of range.
    """

    key = "triplex"

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 224,
        n_scales: int = 2,
        vision: str | EncoderFactory = "cnn",
        vision_kwargs: dict[str, Any] | None = None,
        tiles: int = 7,
        tiles_around: int = 5,
        layers: int = 2,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        kernel_size: int = 3,
        alpha: float = 0.3,
        attention: str = "full",
        attention_window: int = 16,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if n_scales not in (1, 2):
            raise ValueError(
                f"TRIPLEX needs 1 or 2 fields of view (data.scales), a spot's and its surroundings'; got {n_scales}."
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}.")
        if not (0 <= alpha <= 1 and 0 < mlp_ratio < 1000):
            raise ValueError(
                f"alpha must be from 0 to 1 and mlp_ratio above 0 and below 1000, got {alpha} and {mlp_ratio}."
            )
        super().__init__(n_genes, n_scales)
        kwargs = vision_kwargs or {}
        spot = Tiles(vision, patch_size, tiles, **kwargs)
        around = Tiles(vision, patch_size, tiles_around, **kwargs) if n_scales == 2 else None
        if around is not None and spot.takes == "embeddings":
            raise ValueError("Precomputed embeddings have one field of view; set n_scales=1 (data.scales: [1.0]).")
        self.vision = Views(spot, around)
        self.config = {**config, "vision_kwargs": rebuild_arguments(spot.encoder, vision_kwargs)}
        channels, self.n_tokens, self.alpha = spot.channels, spot.side**2, alpha
        if layers < 1 or heads < 1 or channels % heads:
            raise ValueError(f"layers and heads are at least 1, and heads divides C={channels}; got {layers}, {heads}.")
        width, mlp_channels = channels // heads, round(mlp_ratio * channels)

        def section_layers(number: int) -> SpotTransformer:
            return SpotTransformer(
                channels,
                number,
                heads,
                width,
                mlp_channels,
                dropout,
                "none",
                attention=attention,
                window=attention_window,
            )

        self.section_first, self.section_rest = section_layers(1), section_layers(layers - 1)
        self.position = ArrayConvolution(channels, kernel_size)
        self.section_norm = nn.LayerNorm(channels)
        self.surroundings = None
        if around is not None:
            self.surroundings = SquareTransformer(around.side, channels, layers, heads, mlp_channels, dropout)
        self.fusion = CrossTransformer(channels, layers, heads, mlp_channels, dropout)
        self.norm = nn.LayerNorm(channels)
        self.expression = nn.Linear(channels, n_genes)
        views = ["spot", "section", *(["around"] if around is not None else [])]
        self.views = nn.ModuleDict({view: nn.Linear(channels, n_genes) for view in views})

    @property
    def attends(self) -> str | None:
        """The ``attention`` argument."""
        return self.section_first.attends

    def forward(self, data: Data, features: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each section independently."""
        (flat,) = self.features(data) if features is None else features
        tokens = flat.view(len(flat), -1, self.expression.in_features)
        spot, around = tokens[:, : self.n_tokens], tokens[:, self.n_tokens :]
        ptr = section_ptr(data)
        section = self.section_first(spot.mean(1), data.grid, ptr)
        section = self.section_rest(self.position(section, data.grid, ptr), data.grid, ptr)
        section = self.section_norm(section)
        fused, seen = self.fusion(section, spot), {"spot": spot.mean(1), "section": section}
        if self.surroundings is not None:
            around = self.surroundings(around)
            fused, seen["around"] = fused + self.fusion(section, around), around.mean(1)
        h = self.norm(fused)
        views = {view: self.unstandardize(self.views[view](value)) for view, value in seen.items()}
        return {"expression": self.unstandardize(self.expression(h)), "embedding": h, **views}

    def own_losses(self, out: dict[str, Tensor], data: Data, how: losses.Options) -> dict[str, Tensor]:
        """The error of the fused prediction, and what each view is trained by."""
        parts = []
        for view in self.views:
            parts.append((1 - self.alpha) * losses.expression_error({"expression": out[view]}, data, *how))
            parts.append(self.alpha * losses.distillation_error(out[view], out, data, how.scale, how.reduction))
        return {"expression": losses.expression_error(out, data, *how), "views": torch.stack(parts).sum()}
