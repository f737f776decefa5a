"""Attention within one spot: of the tokens of its surroundings to each other, and of the spot to tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.nn.transformer import pre_norm_mlp


class _Attention(nn.Module):
    """Multi-head attention of queries [N, Q, C] to tokens [N, T, C], which share a layer norm."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.out = nn.Sequential(nn.Linear(channels, channels), nn.Dropout(dropout))

    def forward(self, x: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        def by_head(value: Tensor) -> Tensor:
            return value.view(*value.shape[:2], self.heads, -1).transpose(1, 2)

        key, value = self.key_value(self.norm(tokens)).chunk(2, dim=2)
        out = F.scaled_dot_product_attention(
            by_head(self.query(self.norm(x))), by_head(key), by_head(value), attn_mask=bias
        )
        return self.out(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class SquareTransformer(nn.Module):
    """Pre-norm Transformer over the tokens of a square, with a learned bias for each distance in rows and columns.

    Args:
        side: Tokens along a side, T.
        channels: Width C, a multiple of ``heads``.
        num_layers: Number of blocks.
        heads: Attention heads.
        mlp_channels: Hidden width of the MLP.
        dropout: Dropout after attention and in the MLP.

    Shapes:
        - [N, T², C], row by row -> [N, T², C]
    """

    apart: Tensor

    def __init__(
        self, side: int, channels: int, num_layers: int, heads: int, mlp_channels: int, dropout: float
    ) -> None:
        super().__init__()
        steps = torch.arange(side)
        self.register_buffer("apart", (steps[:, None] - steps).abs(), persistent=False)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(heads, side**2)) for _ in range(num_layers))
        self.attentions = nn.ModuleList(_Attention(channels, heads, dropout) for _ in range(num_layers))
        self.mlps = nn.ModuleList(pre_norm_mlp(channels, mlp_channels, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns, side = self.apart[:, None, :, None], self.apart[:, None], len(self.apart)
        for table, attention, mlp in zip(self.biases, self.attentions, self.mlps, strict=True):
            bias = table.unflatten(1, (side, side))[:, rows, columns].flatten(3).flatten(1, 2)
            x = x + attention(x, x, bias)
            x = x + mlp(x)
        return self.norm(x)  # type: ignore[no-any-return]


class CrossTransformer(nn.Module):
    """Pre-norm blocks in which one vector of each spot attends to its tokens.

    Args:
        channels: Width C, a multiple of ``heads``.
        num_layers: Number of blocks.
        heads: Attention heads.
        mlp_channels: Hidden width of the MLP.
        dropout: Dropout after attention and in the MLP.

    Shapes:
        - x [N, C], tokens [N, T, C] -> [N, C]
    """

    def __init__(self, channels: int, num_layers: int, heads: int, mlp_channels: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(_Attention(channels, heads, dropout) for _ in range(num_layers))
        self.mlps = nn.ModuleList(pre_norm_mlp(channels, mlp_channels, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        query = x[:, None]
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            query = query + attention(query, tokens)
            query = query + mlp(query)
        return query[:, 0]
