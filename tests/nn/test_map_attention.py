from __future__ import annotations

import torch

from hist2st_pyg.nn.map_attention import MapAttention


def test_channels_are_weighed_then_places() -> None:
    torch.manual_seed(0)
    layer, x = MapAttention(32), torch.randn(2, 32, 4, 4)
    down, _, up = layer.channels
    down, up = down.weight[:, :, 0, 0], up.weight[:, :, 0, 0]
    assert down.shape == (2, 32)
    for found, own in zip(layer(x), x, strict=True):
        flat = own.flatten(1)
        gate = sum(up @ (down @ pooled).relu() for pooled in (flat.mean(1), flat.max(1).values)).sigmoid()
        weighed = own * gate[:, None, None]
        summary = torch.stack([weighed.mean(0), weighed.max(0).values])[None]
        torch.testing.assert_close(found, weighed * layer.places(summary)[0].sigmoid())


def test_a_map_of_one_place_and_few_channels_will_do() -> None:
    assert MapAttention(3)(torch.randn(5, 3, 1, 1)).shape == (5, 3, 1, 1)
