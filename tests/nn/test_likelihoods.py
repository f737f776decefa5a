from __future__ import annotations

import itertools
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.special import expit, gammaln
from scipy.stats import nbinom, poisson
from torch import Tensor, nn

from hist2st_pyg.nn.likelihoods import LIKELIHOODS, NB, ZINB, Likelihood, Poisson, likelihood_in

C, G, N = 16, 5, 7


def embeddings(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(N, C, generator=torch.Generator().manual_seed(0))


def log_prob(likelihood: type[Likelihood], counts: Tensor, *parameters: Tensor) -> Tensor:
    """The log-probability at size factor 1, parameters in the order of their names."""
    out = dict(zip(likelihood.parameter_names, parameters, strict=True))
    return likelihood.log_prob(out, counts, torch.ones((), dtype=counts.dtype))


def drawn(key: str) -> dict[str, Tensor]:
    """Parameters of embeddings, in double precision."""
    torch.manual_seed(0)
    with torch.no_grad():
        return LIKELIHOODS[key](C, G).double()(embeddings().double())  # type: ignore[no-any-return]


# Every likelihood.


@pytest.mark.parametrize("key", sorted(LIKELIHOODS))
def test_one_distribution_in_four_ways(key: str) -> None:
    """The cumulative function, moments and probability of no count are those of the log-probability."""
    likelihood, out = LIKELIHOODS[key], drawn(key)
    counts = torch.arange(3000.0, dtype=torch.float64)[:, None, None]
    constant = torch.lgamma(counts + 1) if key == "nb" else 0  # which the paper's loss leaves out
    chance = (likelihood.log_prob(out, counts, torch.ones(N, 1, dtype=torch.float64)) - constant).exp()
    torch.testing.assert_close(chance.sum(0), torch.ones(N, G, dtype=torch.float64), atol=1e-6, rtol=0)
    mean, variance = likelihood.moments(out)
    torch.testing.assert_close((chance * counts).sum(0), mean, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close((chance * (counts - mean) ** 2).sum(0), variance, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(chance[0], likelihood.zero_probability(out), rtol=1e-6, atol=0)
    arrays = {name: value.numpy() for name, value in out.items()}
    for y in (-1, 0, 1, 5):
        below = likelihood.cdf(arrays, np.full((N, G), float(y)), np.ones((N, 1)))
        np.testing.assert_allclose(below, chance[: y + 1].sum(0), rtol=1e-6)


@pytest.mark.parametrize("key", sorted(LIKELIHOODS))
def test_an_output_tells_its_likelihood(key: str) -> None:
    out = {"expression": torch.zeros(N, G), **drawn(key)}
    assert set(drawn(key)) == set(LIKELIHOODS[key].parameter_names)
    assert likelihood_in(out) is LIKELIHOODS[key]
    others = [other for name, other in LIKELIHOODS.items() if name != key]
    assert not any(set(other.parameter_names) & set(out) for other in others)


def test_an_output_without_likelihood_is_told() -> None:
    with pytest.raises(
        ValueError, match="no likelihood; build it with likelihood set to one of " + ", ".join(map(repr, LIKELIHOODS))
    ):
        likelihood_in({"expression": torch.zeros(2, 2)})


def test_poisson_is_scipys() -> None:
    rng = np.random.default_rng(0)
    counts, rate, factor = rng.poisson(3, (4, 3)).astype(float), rng.gamma(2, 2, (4, 3)), rng.uniform(0.5, 2, (4, 1))
    got = Poisson.log_prob({"rate": torch.from_numpy(rate)}, torch.from_numpy(counts), torch.from_numpy(factor))
    np.testing.assert_allclose(got, poisson.logpmf(counts, rate * factor), rtol=1e-9)


def test_zinb_parameters_by_formula() -> None:
    torch.manual_seed(0)
    head, x = ZINB(C, G), embeddings()
    out = head(x)
    linear = {name: (x @ lin.weight.T + lin.bias).detach().double().numpy() for name, lin in head.named_children()}
    np.testing.assert_allclose(out["mean"].detach(), np.exp(linear["mean"]), rtol=1e-5)
    np.testing.assert_allclose(out["dispersion"].detach(), np.log1p(np.exp(linear["dispersion"])), rtol=1e-5)
    np.testing.assert_allclose(out["dropout"].detach(), 1 / (1 + np.exp(-linear["dropout"])), rtol=1e-5)


@pytest.mark.parametrize("published", [False, True])
def test_zinb_parameters_stay_in_range(published: bool) -> None:
    torch.manual_seed(0)
    head = ZINB(C, G)
    head.published = published
    out = {name: value.detach() for name, value in head(embeddings(1e5)).items()}
    assert {float(out["mean"].min()), float(out["mean"].max())} == {np.float32(1e-5), 1e6}
    assert {float(out["dispersion"].min()), float(out["dispersion"].max())} == {np.float32(1e-4), 1e4}
    limits = float(out["dropout"].min()), float(out["dropout"].max())
    if published:
        assert limits == (0.0, 1.0)
    else:
        assert limits == pytest.approx((np.exp(-80), 1 - np.exp(-16)), rel=1e-5)
        assert limits[1] < 1


def test_nb_parameters_stay_in_range() -> None:
    torch.manual_seed(0)
    head = NB(C, G)
    out = {name: value.detach() for name, value in head(embeddings(1e5)).items()}
    assert {float(out["log_r"].min()), float(out["log_r"].max())} == {np.float32(np.log(1e-4)), np.float32(np.log(1e4))}
    mean = head.moments(out)[0]
    assert (float(mean.min()), float(mean.max())) == pytest.approx((1e-5, 1e6), rel=1e-5)
    head.published = True
    x = embeddings(1e5)
    torch.testing.assert_close(head(x)["log_r"], x @ head.log_r.weight.T + head.log_r.bias)
    assert head(x)["logit_p"].abs().max() > 1e4


def test_nb_parameters_by_formula() -> None:
    torch.manual_seed(0)
    head, x = NB(C, G), embeddings()
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
    got_mean, got_variance = ZINB.moments({k: torch.tensor([[v]], dtype=torch.float64) for k, v in out.items()})
    counts = np.arange(20_000)
    chance = (1 - dropout) * nbinom.pmf(counts, dispersion, dispersion / (dispersion + mean)) + dropout * (counts == 0)
    expected = (chance * counts).sum()
    assert float(got_mean) == pytest.approx(expected, rel=1e-8)
    assert float(got_variance) == pytest.approx((chance * (counts - expected) ** 2).sum(), rel=1e-8)


def test_zinb_moments_of_drawn_counts() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.negative_binomial(2.0, 2.0 / (2.0 + 6.0), 400_000) * (rng.random(400_000) >= 0.25)
    out = {"mean": torch.tensor(6.0), "dispersion": torch.tensor(2.0), "dropout": torch.tensor(0.25)}
    mean, variance = ZINB.moments(out)
    assert float(mean) == pytest.approx(drawn.mean(), rel=0.01)
    assert float(variance) == pytest.approx(drawn.var(), rel=0.02)


@pytest.mark.parametrize(("log_r", "logit_p"), [(0.5, -1.0), (2.0, 1.3), (-1.5, 0.0)])
def test_nb_moments(log_r: float, logit_p: float) -> None:
    out: dict[str, Any] = {
        "log_r": torch.tensor([[log_r]], dtype=torch.float64),
        "logit_p": torch.tensor([[logit_p]], dtype=torch.float64),
    }
    mean, variance = NB.moments(out)
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
    got = ZINB.zero_probability({k: torch.tensor([[v]]) for k, v in out.items()})
    expected = dropout + (1 - dropout) * nbinom.pmf(0, dispersion, dispersion / (dispersion + mean))
    assert float(got) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("log_r", "logit_p"), [(0.5, -1.0), (2.0, 1.3), (-1.5, 0.0), (-8.0, 12.0), (4.0, -9.0)])
def test_nb_probability_of_no_count(log_r: float, logit_p: float) -> None:
    got = NB.zero_probability({"log_r": torch.tensor([[log_r]]), "logit_p": torch.tensor([[logit_p]])})
    expected = nbinom.pmf(0, np.exp(log_r), 1 - 1 / (1 + np.exp(-logit_p)))
    assert float(got) == pytest.approx(float(expected), rel=1e-5)


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


def test_zinb_is_scipys_mixture() -> None:
    cases = np.array(list(itertools.product([0, 1, 2, 7, 150], [0.01, 1.0, 30.0], [0.1, 2.0, 80.0], [1e-4, 0.3, 0.95])))
    counts, mean, dispersion, dropout = cases.T
    chance = (1 - dropout) * nbinom.pmf(counts, dispersion, dispersion / (dispersion + mean)) + dropout * (counts == 0)
    got = log_prob(ZINB, *(torch.from_numpy(value.copy()) for value in (counts, mean, dispersion, dropout)))
    # Where the chance is below 1e-300 scipy's own product ends.
    assert (chance > 1e-300).mean() > 0.8
    where = chance > 1e-300
    np.testing.assert_allclose(got.numpy()[where], np.log(chance[where]), rtol=1e-6, atol=1e-6)
    alone = np.log1p(-dropout) + nbinom.logpmf(counts, dispersion, dispersion / (dispersion + mean))
    np.testing.assert_allclose(got.numpy()[counts > 0], alone[counts > 0], rtol=1e-6, atol=1e-6)


def test_zinb_probabilities_sum_to_one() -> None:
    counts = torch.arange(4000, dtype=torch.float64)
    for mean, dispersion, dropout in ((5.0, 0.8, 0.2), (60.0, 3.0, 0.0), (0.1, 50.0, 0.9)):
        parameters = (torch.tensor(value, dtype=torch.float64) for value in (mean, dispersion, dropout))
        assert float(log_prob(ZINB, counts, *parameters).exp().sum()) == pytest.approx(1, abs=1e-6)


def test_nb_is_scipys_but_for_the_factorial() -> None:
    cases = np.array(list(itertools.product([0, 1, 2, 7, 150], [-2.0, 0.0, 3.0], [-4.0, 0.3, 2.0])))
    counts, log_r, logit_p = cases.T
    expected = nbinom.logpmf(counts, np.exp(log_r), 1 - expit(logit_p)) + gammaln(counts + 1)
    got = log_prob(NB, *(torch.from_numpy(value.copy()) for value in (counts, log_r, logit_p)))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_zinb_is_finite_at_the_heads_limits(count: float, dropout: float) -> None:
    for mean, dispersion in itertools.product([0.0, 1e-5, 1.0, 1e6], [1e-4, 1.0, 1e4]):
        parameters = [torch.tensor(value, requires_grad=True) for value in (mean, dispersion, dropout)]
        found = log_prob(ZINB, torch.tensor(count), *parameters)
        assert torch.isfinite(found), (mean, dispersion)
        found.backward()
        for parameter in parameters:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad), (mean, dispersion)


@pytest.mark.parametrize("count", [0.0, 1.0, 1e5])
def test_nb_is_finite_for_extreme_parameters(count: float) -> None:
    for log_r, logit_p in itertools.product([-9.0, 0.0, 9.0], [-30.0, 0.0, 30.0]):
        parameters = [torch.tensor(value, requires_grad=True) for value in (log_r, logit_p)]
        found = log_prob(NB, torch.tensor(count), *parameters)
        assert torch.isfinite(found), (log_r, logit_p)
        found.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad) for p in parameters), (log_r, logit_p)


# Against arbitrary precision.

COUNTS = (0.0, 1.0, 2.0, 10.0, 1e3, 1e5, 1e6)
MEANS = (1e-5, 0.1, 1.0, 30.0, 1e4, 1e6)
DISPERSIONS = (1e-4, 0.1, 1.0, 50.0, 1e4)


def exact_zinb(k: Any, mean: Any, r: Any, dropout: Any) -> Any:
    none = r * mp.log(r / (r + mean))
    if k == 0:
        return mp.log(dropout + (1 - dropout) * mp.exp(none))
    some = mp.loggamma(k + r) - mp.loggamma(r) - mp.loggamma(k + 1) + none + k * mp.log(mean / (r + mean))
    return mp.log(1 - dropout) + some


def exact_nb(k: Any, log_r: Any, logit_p: Any) -> Any:
    r = mp.exp(log_r)
    return mp.loggamma(k + r) - mp.loggamma(r) - k * mp.log1p(mp.exp(-logit_p)) - r * mp.log1p(mp.exp(logit_p))


def exact_poisson(k: Any, rate: Any) -> Any:
    return k * mp.log(rate) - rate - mp.loggamma(k + 1)


EXACT: dict[str, tuple[Any, list[tuple[float, ...]]]] = {
    "nb": (
        exact_nb,
        [
            (k, float(np.log(r)), float(np.log(mean / r)))
            for k, mean, r in itertools.product(COUNTS, (1e-5, 1.0, 1e6), DISPERSIONS)
        ],
    ),
    "poisson": (exact_poisson, list(itertools.product(COUNTS, MEANS))),
    "zinb": (exact_zinb, list(itertools.product(COUNTS, MEANS, DISPERSIONS, (0.0, 1e-30, 0.3, 1 - 6e-8)))),
}


@pytest.mark.parametrize("key", sorted(EXACT))
def test_single_precision_is_exact_and_so_are_its_gradients(key: str) -> None:
    """Relative to 50 digits, over counts to a million and dispersions from 1e-4 to 1e4."""
    exact, cases = EXACT[key]
    counts, *parameters = (torch.tensor(column) for column in zip(*cases, strict=True))
    for parameter in parameters:
        parameter.requires_grad_()
    found = log_prob(LIKELIHOODS[key], counts, *parameters)
    assert found.dtype == torch.float32
    found.sum().backward()
    columns = (counts, *parameters)
    with mp.workdps(50):
        for i in range(len(cases)):
            k, *values = (mp.mpf(float(column[i].detach())) for column in columns)
            expected = exact(k, *values)
            assert abs(float(found[i].detach()) - expected) <= 1e-6 * abs(expected), cases[i]
            if i % 7 == 0 and 0 not in values:  # a derivative in arbitrary precision is slow
                for j, parameter in enumerate(parameters):
                    slope = mp.diff(
                        lambda x, j=j, k=k, values=values: exact(k, *values[:j], x, *values[j + 1 :]), values[j]
                    )
                    assert parameter.grad is not None
                    assert abs(float(parameter.grad[i]) - slope) <= 1e-5 * abs(slope) + 1e-12, (cases[i], j)


def test_a_zero_count_that_dropout_does_not_explain_is_as_unlikely_as_it_is() -> None:
    out = {"mean": torch.tensor(1e6), "dispersion": torch.tensor(1e4), "dropout": torch.tensor(0.0)}
    assert float(ZINB.log_prob(out, torch.zeros(()), torch.ones(()))) == pytest.approx(-46_151.2, abs=0.1)
    published = ZINB.published_log_prob(out, torch.zeros(()), torch.ones(()))
    assert float(published) == pytest.approx(np.log(1e-10), rel=1e-6)


def test_the_published_form_of_the_others_is_the_same() -> None:
    for key in ("nb", "poisson"):
        out, counts = drawn(key), torch.arange(float(N))[:, None].expand(N, G)
        likelihood, ones = LIKELIHOODS[key], torch.ones(N, 1)
        assert torch.equal(likelihood.published_log_prob(out, counts, ones), likelihood.log_prob(out, counts, ones))


@pytest.mark.parametrize("key", sorted(LIKELIHOODS))
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e5, 1e10, 1e30])
def test_any_embedding_has_a_finite_loss_and_gradient(key: str, scale: float) -> None:
    torch.manual_seed(0)
    head, x = LIKELIHOODS[key](C, G), embeddings(scale).requires_grad_()
    counts, size_factor = torch.poisson(torch.full((N, G), 3.0)), torch.linspace(0, 2, N)[:, None]
    counts[0] = 0  # a spot without counts has size factor 0
    out = head(x)
    loss = -head.log_prob(out, counts, size_factor).mean()
    loss.backward()
    assert torch.isfinite(loss)
    assert x.grad is not None
    for gradient in (x.grad, *(parameter.grad for parameter in head.parameters())):
        assert gradient is not None
        assert bool(torch.isfinite(gradient).all())
    for value in (*out.values(), *head.moments(out), head.zero_probability(out)):
        assert bool(torch.isfinite(value).all())


@pytest.mark.parametrize("key", sorted(LIKELIHOODS))
@pytest.mark.parametrize("rate", [1.0, 30.0])
def test_no_training_at_a_high_rate_diverges(key: str, rate: float) -> None:
    counts = torch.poisson(torch.rand(40, G, generator=torch.Generator().manual_seed(1)) * 50)
    x, ones = torch.randn(40, C, generator=torch.Generator().manual_seed(2)), torch.ones(40, 1)
    for seed in range(11):
        torch.manual_seed(seed)
        body, head = nn.Linear(C, C), LIKELIHOODS[key](C, G)
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=rate)
        for _ in range(30):
            optimizer.zero_grad()
            loss = -head.log_prob(head(body(x)), counts, ones).sum(1).mean()
            assert torch.isfinite(loss), seed
            loss.backward()
            optimizer.step()
        assert all(bool(torch.isfinite(parameter).all()) for parameter in (*body.parameters(), *head.parameters()))
