from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hist2st_pyg.nn.pixels import IMAGENET, Pixels

STATISTICS = ([0.1, 0.2, 0.3], [0.5, 0.25, 2.0])


def patches(side: int) -> Tensor:
    return torch.randint(256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_colors_are_scaled_channel_by_channel() -> None:
    x = patches(4)
    expected = (x.numpy() / 255 - np.reshape(STATISTICS[0], (3, 1, 1))) / np.reshape(STATISTICS[1], (3, 1, 1))
    np.testing.assert_allclose(Pixels(STATISTICS)(x), expected, atol=1e-6)
    torch.testing.assert_close(Pixels(STATISTICS, 4)(x.float()), Pixels(STATISTICS)(x))
    assert not Pixels(IMAGENET).state_dict()


def test_patches_are_resized_as_by_pillow() -> None:
    x = patches(24)
    for size in (10, 50):
        channel = Image.fromarray(x[0, 1].numpy().astype(np.float32), mode="F")
        expected = np.asarray(channel.resize((size, size), Image.Resampling.BILINEAR))
        got = Pixels(((0, 0, 0), (1, 1, 1)), size)(x)[0, 1] * 255
        np.testing.assert_allclose(got, expected, atol=1e-3)
