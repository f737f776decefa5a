"""A vision stage on the tiles of a patch, which gives a feature map instead of one vector."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hist2st_pyg.nn.vision import EncoderFactory, first_encoder, vision_resolver


class Tiles(nn.Module):
    """Encode each tile of a patch separately; an embedding counts as one tile.

    Args:
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``.
        patch_size: Side of a patch in pixels, P; pixels that ``side`` tiles do not cover are cropped around them.
        side: Tiles along a side, T.
        n_scales: Number of fields of view in a patch's channels, S; their features are concatenated tile by tile.
        kwargs: Further arguments of the encoder.

    Attributes:
        takes: The encoder's input; ``"pixels"`` if the encoder takes statistics.
        side: Tiles along a side; 1 for embeddings.
        channels: Width of a tile, C.
        out_channels: Width of the result, T²·C.

    Shapes:
        - patches [N, 3·S, P, P] -> [N, T²·C], tile by tile, row by row

    Raises:
        ValueError: If ``side`` is below 1 or above ``patch_size``.
    """

    def __init__(
        self, vision: str | EncoderFactory, patch_size: int, side: int, n_scales: int = 1, **kwargs: Any
    ) -> None:
        super().__init__()
        if not 1 <= side <= patch_size:
            raise ValueError(f"A patch of {patch_size} pixels has 1 to {patch_size} tiles along a side, got {side}.")
        self.size = patch_size // side
        self.encoder = vision_resolver(vision, self.size, n_scales, **kwargs)
        takes = getattr(self.encoder, "takes", "normalized")
        self.takes = "pixels" if takes == "statistics" else takes
        self.side = 1 if takes == "embeddings" else side
        self.channels = int(self.encoder.out_channels)  # type: ignore[arg-type]
        self.out_channels = self.side**2 * self.channels

    @property
    def origin(self) -> str | None:
        """The source of the encoder's weights, in words."""
        return getattr(first_encoder(self.encoder), "origin", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.takes == "embeddings":
            return self.encoder(x)  # type: ignore[no-any-return]
        return self.encoder(tiles(x, self.side, self.size)).view(len(x), -1)  # type: ignore[no-any-return]


def tiles(x: Tensor, side: int, size: int) -> Tensor:
    """The tiles of patches, [N, C, P, P] -> [N·T², C, p, p], row by row.

    >>> import torch
    >>> tiles(torch.arange(16).view(1, 1, 4, 4), 2, 2)[:, 0].tolist()
    [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [12, 13]], [[10, 11], [14, 15]]]
    """
    start = (x.shape[-1] - side * size) // 2
    inside = slice(start, start + side * size)
    cut: Tensor = x[:, :, inside, inside].reshape(*x.shape[:2], side, size, side, size)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
