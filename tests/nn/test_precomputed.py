from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hist2st_pyg.nn import PrecomputedEncoder, vision_resolver


def test_it_projects_embeddings() -> None:
    torch.manual_seed(0)
    encoder, x = PrecomputedEncoder(3, 112, embedding_channels=10, out_channels=6).eval(), 100 * torch.randn(4, 10)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    first, linear, second, _, dropout = encoder.project
    h = F.linear(F.layer_norm(x, (10,), first.weight, first.bias), linear.weight, linear.bias)
    torch.testing.assert_close(encoder(x), F.gelu(F.layer_norm(h, (6,), second.weight, second.bias)))
    assert (encoder.takes, encoder.out_channels, dropout.p) == ("embeddings", 6, 0.2)


@pytest.mark.parametrize("shape", [(4, 11), (4, 3, 8, 8)])
def test_other_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Embeddings must be \[N, 10\], got \[4, .*to their width"):
        PrecomputedEncoder(3, 112, embedding_channels=10)(torch.zeros(shape))


def test_the_width_has_to_be_given() -> None:
    with pytest.raises(TypeError, match="embedding_channels"):
        vision_resolver("precomputed", 112)
