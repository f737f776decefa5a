"""Means and deviations of maps against torch's own, and their gradient against autograd's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hist2st_pyg.nn.moments import VARIANCE_EPS, moments


def by_torch(x: Tensor) -> Tensor:
    return torch.cat([x.mean((2, 3)), (x.var((2, 3), unbiased=False) + VARIANCE_EPS).sqrt()], dim=1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_formula(layout: torch.memory_format) -> None:
    x = torch.randn(5, 4, 6, 7, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    torch.testing.assert_close(moments(x), by_torch(x))
    weight = torch.randn(5, 8, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((f(x) * weight).sum(), x)[0] for f in (moments, by_torch))
    torch.testing.assert_close(ours, theirs)


def test_a_flat_map_has_a_finite_gradient() -> None:
    x = torch.full((2, 3, 4, 4), 2.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(moments(x).sum(), x)
    assert torch.isfinite(gradient).all()
