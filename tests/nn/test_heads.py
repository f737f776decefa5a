from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from hist2st_pyg.nn import LIKELIHOODS, Distillation, ExpressionHead, NBHead, ZINBHead

C, G, N = 16, 5, 7


def embeddings(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(N, C, generator=torch.Generator().manual_seed(0))


def test_expression_is_a_linear_map_of_the_normalised_embedding() -> None:
    torch.manual_seed(0)
    head, x = ExpressionHead(C, G), embeddings()
    centred = x - x.mean(1, keepdim=True)
    normed = centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), normed @ head[1].weight.T + head[1].bias)


def test_zinb_parameters_by_formula() -> None:
    torch.manual_seed(0)
    head, x = ZINBHead(C, G), embeddings()
    out = head(x)
    linear = {name: (x @ lin.weight.T + lin.bias).detach().double().numpy() for name, lin in head.named_children()}
    np.testing.assert_allclose(out["mean"].detach(), np.exp(linear["mean"]), rtol=1e-5)
    np.testing.assert_allclose(out["dispersion"].detach(), np.log1p(np.exp(linear["dispersion"])), rtol=1e-5)
    np.testing.assert_allclose(out["dropout"].detach(), 1 / (1 + np.exp(-linear["dropout"])), rtol=1e-5)


def test_zinb_parameters_stay_in_range() -> None:
    torch.manual_seed(0)
    out = {name: value.detach() for name, value in ZINBHead(C, G)(embeddings(1e5)).items()}
    assert {float(out["mean"].min()), float(out["mean"].max())} == {np.float32(1e-5), 1e6}
    assert {float(out["dispersion"].min()), float(out["dispersion"].max())} == {np.float32(1e-4), 1e4}
    assert {float(out["dropout"].min()), float(out["dropout"].max())} == {0.0, 1.0}


def test_nb_parameters_by_formula() -> None:
    torch.manual_seed(0)
    head, x = NBHead(C, G), embeddings()
    out = head(x)
    torch.testing.assert_close(out["log_r"], x @ head.log_r.weight.T + head.log_r.bias)
    torch.testing.assert_close(out["logit_p"], x @ head.logit_p.weight.T + head.logit_p.bias)


@pytest.mark.parametrize("key", sorted(LIKELIHOODS))
def test_every_likelihood_has_shapes_and_gradients(key: str) -> None:
    torch.manual_seed(0)
    head = LIKELIHOODS[key](C, G)
    out = head(embeddings())
    assert all(value.shape == (N, G) for value in out.values())
    torch.stack(list(out.values())).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    mean, variance = head.moments(out)
    assert mean.shape == variance.shape == (N, G)
    assert bool((variance >= mean).all())  # neither distribution is narrower than Poisson's


@pytest.mark.parametrize(("mean", "dispersion", "dropout"), [(3.0, 2.0, 0.3), (0.2, 5.0, 0.0), (40.0, 0.7, 0.8)])
def test_zinb_moments(mean: float, dispersion: float, dropout: float) -> None:
    out = {"mean": mean, "dispersion": dispersion, "dropout": dropout}
    got_mean, got_variance = ZINBHead.moments({k: torch.tensor([[v]], dtype=torch.float64) for k, v in out.items()})
    counts = np.arange(20_000)
    chance = (1 - dropout) * nbinom.pmf(counts, dispersion, dispersion / (dispersion + mean)) + dropout * (counts == 0)
    expected = (chance * counts).sum()
    assert float(got_mean) == pytest.approx(expected, rel=1e-8)
    assert float(got_variance) == pytest.approx((chance * (counts - expected) ** 2).sum(), rel=1e-8)


def test_zinb_moments_of_drawn_counts() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.negative_binomial(2.0, 2.0 / (2.0 + 6.0), 400_000) * (rng.random(400_000) >= 0.25)
    out = {"mean": torch.tensor(6.0), "dispersion": torch.tensor(2.0), "dropout": torch.tensor(0.25)}
    mean, variance = ZINBHead.moments(out)
    assert float(mean) == pytest.approx(drawn.mean(), rel=0.01)
    assert float(variance) == pytest.approx(drawn.var(), rel=0.02)


@pytest.mark.parametrize(("log_r", "logit_p"), [(0.5, -1.0), (2.0, 1.3), (-1.5, 0.0)])
def test_nb_moments(log_r: float, logit_p: float) -> None:
    out: dict[str, Any] = {
        "log_r": torch.tensor([[log_r]], dtype=torch.float64),
        "logit_p": torch.tensor([[logit_p]], dtype=torch.float64),
    }
    mean, variance = NBHead.moments(out)
    # scipy's probability is the other outcome's.
    expected = nbinom.stats(np.exp(log_r), 1 - 1 / (1 + np.exp(-logit_p)), moments="mv")
    assert float(mean) == pytest.approx(float(expected[0]), rel=1e-10)
    assert float(variance) == pytest.approx(float(expected[1]), rel=1e-10)


@pytest.mark.parametrize(
    ("mean", "dispersion", "dropout"),
    [(3.0, 2.0, 0.3), (0.2, 5.0, 0.0), (40.0, 0.7, 0.8), (1e-5, 1e4, 0.1), (1e6, 1e-4, 0.0)],
)
def test_zinb_probability_of_no_count(mean: float, dispersion: float, dropout: float) -> None:
    out = {"mean": mean, "dispersion": dispersion, "dropout": dropout}
    got = ZINBHead.zero_probability({k: torch.tensor([[v]]) for k, v in out.items()})
    expected = dropout + (1 - dropout) * nbinom.pmf(0, dispersion, dispersion / (dispersion + mean))
    assert float(got) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("log_r", "logit_p"), [(0.5, -1.0), (2.0, 1.3), (-1.5, 0.0), (-8.0, 12.0), (4.0, -9.0)])
def test_nb_probability_of_no_count(log_r: float, logit_p: float) -> None:
    got = NBHead.zero_probability({"log_r": torch.tensor([[log_r]]), "logit_p": torch.tensor([[logit_p]])})
    expected = nbinom.pmf(0, np.exp(log_r), 1 - 1 / (1 + np.exp(-logit_p)))
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


def test_distillation_weights_each_view_of_a_spot() -> None:
    torch.manual_seed(0)
    distillation = Distillation(C)
    h, expression = torch.randn(3, N, C), torch.randn(3, N, G)
    score = distillation.weight(h).detach().double().numpy()
    weight = np.exp(score) / np.exp(score).sum(0)
    np.testing.assert_allclose(
        distillation(h, expression).detach(), (weight * expression.double().numpy()).sum(0), atol=1e-6
    )


def test_distillation_weights_sum_to_one() -> None:
    torch.manual_seed(0)
    distillation = Distillation(C)
    h, one = 5 * torch.randn(4, N, C), torch.randn(N, G)
    torch.testing.assert_close(distillation(h, one.expand(4, N, G)), one)
    expression = torch.randn(4, N, G)
    mixed = distillation(h, expression)
    assert bool((mixed <= expression.amax(0) + 1e-6).all())
    assert bool((mixed >= expression.amin(0) - 1e-6).all())
    # The spots are weighted apart: other views of one spot leave the rest as it was.
    h[:, 2] += torch.randn(4, C)
    moved = (distillation(h, expression) - mixed).abs().amax(1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [2]


def test_a_mean_beyond_the_clamp_has_a_finite_gradient() -> None:
    head = LIKELIHOODS["zinb"](2, 3)
    x = torch.full((4, 2), 1e4, requires_grad=True)
    with torch.no_grad():
        head.mean.weight.fill_(1.0)
    out = head(x)
    assert (out["mean"] == 1e6).all()
    out["mean"].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(head.mean.weight.grad).all()
