from __future__ import annotations

import torch
from torch import nn

from hist2st_pyg.nn.frozen import FreezableEncoder


def encoder(frozen: bool) -> FreezableEncoder:
    made = FreezableEncoder()
    made.net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Dropout(0.5))
    made.freeze(frozen, chunk=2)
    return made


def test_a_frozen_network_has_no_gradient_and_no_dropout() -> None:
    frozen, x = encoder(True).train(), torch.rand(5, 3, 2, 2)
    assert frozen.training
    assert not frozen.net.training
    out = frozen(x)
    assert not out.requires_grad
    torch.testing.assert_close(out, frozen.net(x))  # in chunks of two


def test_another_is_trained() -> None:
    trained = encoder(False).train()
    assert trained.net.training
    trained(torch.rand(5, 3, 2, 2)).sum().backward()
    assert all(p.grad is not None for p in trained.parameters())
    assert not trained.eval().net.training
