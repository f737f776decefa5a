from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hist2st_pyg.nn import ConvMixer

P = 28


def patches(n: int = 4, side: int = P) -> Tensor:
    return torch.randint(256, (n, 3, side, side), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize(
    ("patch_size", "stride", "channels", "width"), [(112, 7, 32, 1024), (28, 7, 16, 32), (24, 8, 8, 9)]
)
def test_the_width_of_the_convmixer(patch_size: int, stride: int, channels: int, width: int) -> None:
    encoder = ConvMixer(3, patch_size, channels=channels, stride=stride, depth=1)
    assert encoder.out_channels == width
    assert encoder.eval()(patches(1, side=patch_size)).shape == (1, width)


def test_the_convmixer_by_formula() -> None:
    torch.manual_seed(0)
    encoder = ConvMixer(3, P, channels=8, depth=2, kernel_size=3).eval()
    x = patches() / 255
    h = F.conv2d(x, encoder.patch_embedding.weight, encoder.patch_embedding.bias, stride=7)
    for block in encoder.blocks:
        first, first_norm, _, second, second_norm, _ = block.depthwise
        mixed = F.gelu(first_norm(F.conv2d(h, first.weight, first.bias, padding=1, groups=8)))
        mixed = F.gelu(second_norm(F.conv2d(mixed, second.weight, second.bias, padding=1, groups=8)))
        point, _, norm = block.pointwise
        h = norm(F.gelu(torch.einsum("oi,nihw->nohw", point.weight[:, :, 0, 0], h + mixed) + point.bias[:, None, None]))
    expected = torch.einsum("oi,nihw->nohw", encoder.down.weight[:, :, 0, 0], h) + encoder.down.bias[:, None, None]
    torch.testing.assert_close(encoder(x), expected.flatten(1), rtol=1e-4, atol=1e-5)


def test_the_convmixer_refuses_what_does_not_divide() -> None:
    with pytest.raises(ValueError, match="stride=7 does not divide patch_size=30"):
        ConvMixer(3, 30)
    with pytest.raises(ValueError, match="channels=12 is not a multiple of 8"):
        ConvMixer(3, P, channels=12)
