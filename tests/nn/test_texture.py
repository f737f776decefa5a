from __future__ import annotations

import torch
import torch.nn.functional as F

from hist2st_pyg.nn import TextureCNN

P = 28


def test_the_cnn_averages_large_patches_down() -> None:
    torch.manual_seed(0)
    encoder = TextureCNN(3, P, channels=(8, 8), size=14, out_channels=16).eval()
    x = torch.randint(256, (4, 3, P, P), generator=torch.Generator().manual_seed(0)).float()
    torch.testing.assert_close(encoder(x), encoder(F.avg_pool2d(x, 2)))
    assert encoder.size == 14
    assert TextureCNN(3, 7, size=56).size == 7


def test_the_cnn_sees_color_and_texture() -> None:
    torch.manual_seed(0)
    encoder = TextureCNN(3, 14, channels=(8, 8), size=14, out_channels=16).eval()
    flat = torch.full((1, 3, 14, 14), 100.0)
    checked = flat + 50 * (2 * (torch.arange(14)[:, None] + torch.arange(14)) % 2 * 2 - 1)
    red = flat * torch.tensor([1.5, 1.0, 1.0])[:, None, None]
    for other in (checked, red):
        assert (encoder(flat) - encoder(other)).abs().max() > 1e-3
