"""An encoder of embeddings that another program computed."""

from __future__ import annotations

from torch import Tensor, nn


class PrecomputedEncoder(nn.Module):
    """Project precomputed embeddings of the spots.

    Args:
        in_channels: Not used: the encoder reads no patches.
        patch_size: Not used.
        embedding_channels: Width of an embedding, D.
        out_channels: Width of the result, C.
        dropout: Dropout of the result.

    Shapes:
        - embeddings [N, D] -> [N, C]

    Raises:
        ValueError: In ``forward``, if the embeddings have another width.
    """

    takes = "embeddings"

    def __init__(
        self,
        in_channels: int,
        patch_size: int,
        embedding_channels: int,
        out_channels: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.embedding_channels = embedding_channels
        self.project = nn.Sequential(
            nn.LayerNorm(embedding_channels),
            nn.Linear(embedding_channels, out_channels),
            nn.LayerNorm(out_channels),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self.embedding_channels:
            raise ValueError(
                f"Embeddings must be [N, {self.embedding_channels}], got {list(x.shape)}; set embedding_channels "
                "to their width."
            )
        return self.project(x)  # type: ignore[no-any-return]
