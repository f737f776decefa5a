"""The derivatives written out are autograd's of the formula; ``test_likelihoods.py`` has both against 50 digits."""

from __future__ import annotations

import torch
from torch import Tensor

from hist2st_pyg.nn.zero_inflated import zero_inflated_log_prob


def formula(k: Tensor, mean: Tensor, r: Tensor, p: Tensor) -> Tensor:
    none = torch.log1p(-p) - r * torch.log1p(mean / r)
    some = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1) + none - k * torch.log1p(r / mean)
    return torch.where(k > 0, some, torch.logaddexp(p.log(), none))


def parameters(*shape: int) -> list[Tensor]:
    """Mean, dispersion and dropout over several magnitudes."""
    torch.manual_seed(0)
    mean, dispersion = (torch.randn(shape, dtype=torch.float64).mul(3).exp() for _ in range(2))
    return [value.requires_grad_() for value in (mean, dispersion, torch.randn(shape, dtype=torch.float64).sigmoid())]


def test_values_and_gradients_are_those_of_the_formula() -> None:
    given = parameters(40, 30)
    counts = torch.poisson(torch.full((40, 30), 0.8, dtype=torch.float64)) * 7
    assert 0.3 < float((counts == 0).double().mean()) < 0.7
    weight = torch.randn(40, 30, dtype=torch.float64)
    ours, theirs = zero_inflated_log_prob(counts, *given), formula(counts, *given)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for found, expected in zip(*(torch.autograd.grad(f, given, weight) for f in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_parameters_are_broadcast_and_only_those_asked_for_get_a_gradient() -> None:
    mean, dispersion, dropout = parameters(5)
    counts = torch.tensor([[0.0], [3.0]], dtype=torch.float64)
    found = zero_inflated_log_prob(counts, mean, dispersion.detach(), dropout[0])
    torch.testing.assert_close(found, formula(counts, mean, dispersion, dropout[0]))
    found.sum().backward()
    assert mean.grad is not None
    assert mean.grad.shape == (5,)
    assert dispersion.grad is None
    assert dropout.grad is not None
    assert int((dropout.grad != 0).sum()) == 1
