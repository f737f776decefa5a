"""HisToGene: a Transformer over linearly embedded patches."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.models.base import ExpressionModel, section_ptr
from hist2st_pyg.nn.heads import ExpressionHead
from hist2st_pyg.nn.transformer import SpotTransformer


class HisToGene(ExpressionModel):
    """The baseline of Pang et al. 2021: each patch is flattened and embedded, then all spots attend to each other.

    The defaults are those of the published class; the published HER2+ recipe has 8 blocks, see the ``paper`` preset.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        channels: Width C.
        transformer_layers: Transformer blocks.
        heads: Attention heads.
        dim_head: Width of a head.
        mlp_channels: Hidden width of the MLP; None means 2·C, as published.
        position: ``"table"`` (learned), ``"fourier"`` or ``"none"``.
        n_pos: Array columns and rows in the position table.
        dropout: Dropout of the Transformer, and of the embeddings that enter it.
        attention: Spots that a spot attends to. See :class:`~hist2st_pyg.nn.SpotTransformer`.
        attention_window: Side of ``"local"`` in array steps.

    Shapes:
        ``forward(data)`` returns ``expression`` [N, G] and ``embedding`` [N, C].

    >>> import hist2st_pyg as h
    >>> (section,) = h.load_sections("synthetic", names=["A1"], spots=48, genes=20, noise_genes=4)
    >>> model = h.HisToGene(20, patch_size=8, channels=16, heads=2)
    >>> model(h.to_data(section, section.adata.var_names, patch_size=8))["expression"].shape
    torch.Size([48, 20])
    """

    key = "histogene"
    num_hops = 0

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        channels: int = 1024,
        transformer_layers: int = 4,
        heads: int = 16,
        dim_head: int = 64,
        mlp_channels: int | None = None,
        position: str = "table",
        n_pos: int = 64,
        dropout: float = 0.1,
        attention: str = "full",
        attention_window: int = 16,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(n_genes)
        self.config = config
        self.vision = nn.Linear(3 * patch_size**2, channels)
        self.transformer = SpotTransformer(
            channels,
            transformer_layers,
            heads,
            dim_head,
            mlp_channels or 2 * channels,
            dropout,
            position,
            n_pos,
            embedding_dropout=dropout,
            attention=attention,
            window=attention_window,
        )
        self.expression = ExpressionHead(channels, n_genes)

    @property
    def attends(self) -> str | None:
        """The ``attention`` argument; None without Transformer blocks."""
        return self.transformer.attends

    def features(self, data: Data) -> list[Tensor]:
        """Project the patches, [N, C]."""
        # Channels last, the order of the published weights.
        return [self.vision(self.normalize(data.x).permute(0, 2, 3, 1).flatten(1))]

    def forward(self, data: Data, features: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each section independently."""
        (h,) = self.features(data) if features is None else features
        h = self.transformer(h, data.grid, section_ptr(data))
        return {"expression": self.unstandardize(self.expression(h)), "embedding": h}
