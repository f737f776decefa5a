from __future__ import annotations

import torch

from hist2st_pyg.nn import LinearEncoder


def test_it_is_a_linear_map_of_all_pixels() -> None:
    torch.manual_seed(0)
    encoder, x = LinearEncoder(3, 6, out_channels=5), torch.randn(4, 3, 6, 6)
    weight = encoder.project.weight.unflatten(1, (3, 6, 6))
    torch.testing.assert_close(encoder(x), torch.einsum("nchw,ochw->no", x, weight) + encoder.project.bias)
    assert encoder.out_channels == 5
    assert LinearEncoder(3, 4).out_channels == 1024
