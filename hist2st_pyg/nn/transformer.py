"""The Transformer stage: the spots of a section attend to each other, [N, C] -> [N, C]."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from hist2st_pyg.nn.attention import ATTENTIONS, Attend
from hist2st_pyg.utils.resolver import resolve


class TablePosition(nn.Module):
    """The paper's position embedding: one learned vector for each array column and one for each row.

    Args:
        channels: Width C.
        n_pos: Number of columns and of rows in the table.

    Shapes:
        - grid [N, 2] (column, row) -> [N, C]
    """

    def __init__(self, channels: int, n_pos: int) -> None:
        super().__init__()
        self.column = nn.Embedding(n_pos, channels)
        self.row = nn.Embedding(n_pos, channels)

    def forward(self, grid: Tensor) -> Tensor:
        n_pos = self.column.num_embeddings
        least, most = (int(grid.min()), int(grid.max())) if grid.numel() else (0, 0)
        if least < 0:
            raise ValueError(f"Array positions must be 0 or more, got {least}.")
        if most >= n_pos:
            raise ValueError(
                f"The array position {most} is outside the position table (0 to {n_pos - 1}). Build the model with "
                f"n_pos={most + 1} or more, or with position='fourier', which needs no table."
            )
        return self.column(grid[:, 0]) + self.row(grid[:, 1])  # type: ignore[no-any-return]


class FourierPosition(nn.Module):
    """Sines and cosines of the array position, projected to C, without a largest position.

    Args:
        channels: Width C.
        n_pos: The longest wavelength, in array steps.
        n_waves: Number of wavelengths, from 2 array steps to ``n_pos``.

    Shapes:
        - grid [N, 2] (column, row) -> [N, C]
    """

    wave_numbers: Tensor

    def __init__(self, channels: int, n_pos: int, n_waves: int = 8) -> None:
        super().__init__()
        wavelengths = torch.logspace(math.log10(2), math.log10(max(n_pos, 4)), n_waves)
        self.register_buffer("wave_numbers", 2 * math.pi / wavelengths, persistent=False)
        self.project = nn.Linear(4 * n_waves, channels)

    def forward(self, grid: Tensor) -> Tensor:
        phase = (grid.to(self.wave_numbers.dtype)[:, :, None] * self.wave_numbers).flatten(1)
        return self.project(torch.cat([phase.sin(), phase.cos()], dim=1))  # type: ignore[no-any-return]


POSITIONS: dict[str, Callable[[int, int], nn.Module | None]] = {
    "fourier": FourierPosition,
    "none": lambda channels, n_pos: None,
    "table": TablePosition,
}
"""The position embeddings that can be chosen by key."""


def pre_norm_mlp(channels: int, mlp_channels: int, dropout: float) -> nn.Sequential:
    """The MLP of a pre-norm Transformer block, its layer norm included, [..., C] -> [..., C]."""
    return nn.Sequential(
        nn.LayerNorm(channels),
        nn.Linear(channels, mlp_channels),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(mlp_channels, channels),
        nn.Dropout(dropout),
    )


class _Attention(nn.Module):
    """Pre-norm multi-head self-attention."""

    def __init__(self, channels: int, heads: int, dim_head: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * heads * dim_head, bias=False)
        self.out = nn.Sequential(nn.Linear(heads * dim_head, channels), nn.Dropout(dropout))

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(1, (3, self.heads, -1)).permute(1, 2, 0, 3)
        return self.out(attend(q, k, v).transpose(0, 1).flatten(1))  # type: ignore[no-any-return]


class _Block(nn.Module):
    """x + attention, then x + MLP."""

    def __init__(self, channels: int, heads: int, dim_head: int, mlp_channels: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(channels, heads, dim_head, dropout)
        self.mlp = pre_norm_mlp(channels, mlp_channels, dropout)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        x = x + self.attention(x, attend)
        return x + self.mlp(x)  # type: ignore[no-any-return]


class SpotTransformer(nn.Module):
    """Position embedding and pre-norm Transformer over the spots of each section (Zeng et al. 2022).

    Args:
        channels: Width C.
        num_layers: Number of blocks; 0 only adds the position.
        heads: Attention heads.
        dim_head: Width of a head.
        mlp_channels: Hidden width of the MLP; None means C, as in the paper.
        dropout: Dropout after attention and in the MLP.
        position: ``"table"`` (the paper's, learned), ``"fourier"`` or ``"none"``.
        n_pos: Size of the table, or longest wavelength, in array steps.
        embedding_dropout: Dropout of the spots' embeddings, positions included, before the first block.
        attention: ``"full"`` (the paper's) or ``"local"``, for sections of many thousand spots: each spot attends to
            its window and the eight around it.
        window: Side of a window in array steps.

    Raises:
        ValueError: If a key is unknown, or the window is below 1.

    Shapes:
        - x [N, C], grid [N, 2] (array column, row), ptr (section boundaries, from 0 to N) -> [N, C]
    """

    def __init__(
        self,
        channels: int,
        num_layers: int = 8,
        heads: int = 16,
        dim_head: int = 64,
        mlp_channels: int | None = None,
        dropout: float = 0.2,
        position: str = "table",
        n_pos: int = 64,
        embedding_dropout: float = 0.0,
        attention: str = "full",
        window: int = 16,
    ) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"attention_window must be at least 1 array step, got {window}.")
        self.attention, self.window = attention, window
        self.attend = resolve(ATTENTIONS, attention, "attention")
        self.position = resolve(POSITIONS, position, "position")(channels, n_pos)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.blocks = nn.ModuleList(
            _Block(channels, heads, dim_head, mlp_channels or channels, dropout) for _ in range(num_layers)
        )

    def forward(self, x: Tensor, grid: Tensor, ptr: list[int]) -> Tensor:
        if self.position is not None:
            x = x + self.position(grid)
        x = self.embedding_dropout(x)
        if len(self.blocks):
            attend = self.attend(grid, ptr, self.window)
            for block in self.blocks:
                x = block(x, attend)
        return x

    @property
    def attends(self) -> Literal["full", "local"] | None:
        """The kind of attention between spots; None if there is no block."""
        return self.attention if len(self.blocks) else None  # type: ignore[return-value]  # resolved
