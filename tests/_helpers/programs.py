"""What the public programs of other authors computed, recorded, and their weights under our names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[1] / "golden"


def recorded(name: str) -> dict[str, Tensor]:
    """The arrays of a golden file."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(value) for key, value in arrays.items()}


def renamed_weights(golden: Mapping[str, Tensor], names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """The recorded weights, ``state.*``, with patterns in their names replaced one after the other."""
    for full, value in golden.items():
        if full.startswith("state."):
            name = full.removeprefix("state.")
            for old, new in names.items():
                name = re.sub(old, new, name)
            yield name, value


class Convolution(nn.Module):
    """A tile's one convolution, which stands for the encoder of a program and of the model alike."""

    def __init__(self, in_channels: int, patch_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 16, patch_size)
        self.out_channels = 16

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(1)
