"""The distributions of raw counts: each class has its parameters, log-probability, moments and cumulative function.

A new likelihood is one class and one line of :data:`LIKELIHOODS`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.nn.zero_inflated import zero_inflated_log_prob, zero_probability
from hist2st_pyg.utils.rows import Floats

Parameters = Mapping[str, Tensor]
"""A likelihood's parameters by name, each [N spots, G genes]."""

SMALLEST_MEAN, LARGEST_MEAN = 1e-5, 1e6
"""Bounds of a mean, those of Zeng et al. (2022)."""
LEAST_DISPERSION, MOST_DISPERSION = 1e-4, 1e4
"""Bounds of a negative binomial's dispersion, those of Zeng et al. (2022)."""
LEAST_LOGIT, MOST_LOGIT = -80.0, 16.0
"""Bounds of dropout's logit, between which dropout is neither 0 nor 1 in single precision."""
GUARD = 1e-10
"""The constant that the paper adds to the arguments of logarithms."""


class Likelihood(nn.Module, ABC):
    """A distribution of each spot's raw counts, with parameters read from the spot's embedding.

    ``forward`` maps embeddings [N, C] to the parameters, each [N, G], under the names of ``parameter_names``. No other
    likelihood has these names, so that they identify the likelihood in a model's output.

    Log-probabilities are computed in double precision and returned in the counts' type, because their terms are up to
    a million times larger than their sum.

    Attributes:
        published: Whether parameters and loss are those of the publication (Zeng et al. 2022) where ours differ; set
            from the model's argument ``published_likelihood``.
    """

    parameter_names: ClassVar[tuple[str, ...]]
    sums_genes: ClassVar[bool] = False
    """Whether the loss sums over genes; else it averages."""

    def __init__(self, channels: int, n_genes: int) -> None:
        super().__init__()
        self.published = False
        for name in self.parameter_names:
            setattr(self, name, nn.Linear(channels, n_genes))

    def linear(self, name: str, x: Tensor) -> Tensor:
        """The parameter's linear map of embeddings [N, C]."""
        return getattr(self, name)(x)  # type: ignore[no-any-return]

    @staticmethod
    @abstractmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """Log-probability of counts [N, G] in spots of size factor [N, 1], elementwise."""

    @classmethod
    def published_log_prob(cls, out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """The log-probability as published, where it differs from :meth:`log_prob`."""
        return cls.log_prob(out, counts, size_factor)

    @staticmethod
    @abstractmethod
    def cdf(out: Mapping[str, Floats], counts: Floats, size_factor: Floats) -> Floats:
        """Probability of ``counts`` [N, G] or fewer in spots of size factor [N, 1], elementwise."""

    @staticmethod
    @abstractmethod
    def moments(out: Parameters) -> tuple[Tensor, Tensor]:
        """Mean and variance of the counts at size factor 1, [N, G] each."""

    @staticmethod
    @abstractmethod
    def zero_probability(out: Parameters) -> Tensor:
        """Probability of a zero count at size factor 1, [N, G]."""


class ZINB(Likelihood):
    """Zero-inflated negative binomial: mean (before the size factor), dispersion, dropout probability.

    Parameters and their clamps are the paper's (Zeng et al. 2022). The variance of the negative binomial is
    mean + mean² / dispersion. As published, 1e-10 is added inside each logarithm, so that the log-probability of a
    zero count ends at -23 where dropout is 0 and the mean large (exact: -46,151 for mean 1e6, dispersion 1e4), and
    dropout may round to 0 or 1.
    """

    parameter_names = ("mean", "dispersion", "dropout")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logit = self.linear("dropout", x)
        return {
            "mean": _positive(self.linear("mean", x)),
            "dispersion": F.softplus(self.linear("dispersion", x)).clamp(LEAST_DISPERSION, MOST_DISPERSION),
            "dropout": (logit if self.published else logit.clamp(LEAST_LOGIT, MOST_LOGIT)).sigmoid(),
        }

    @staticmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """Log-probability of counts [N, G] in spots of size factor [N, 1], exact also where dropout is 0."""
        mean = _expected(out["mean"], size_factor)
        found = zero_inflated_log_prob(_double(counts), mean, _double(out["dispersion"]), _double(out["dropout"]))
        return found.to(counts.dtype)

    @classmethod
    def published_log_prob(cls, out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """The log-probability with :data:`GUARD` added inside the logarithms."""
        k, r, p = _double(counts), _double(out["dispersion"]), _double(out["dropout"])
        mean = _double(size_factor) * _double(out["mean"])
        log_mean, log_dispersion, log_sum = (mean + GUARD).log(), (r + GUARD).log(), (r + mean + GUARD).log()
        zero = r * (log_dispersion - log_sum)
        other = torch.lgamma(k + r + GUARD) - torch.lgamma(r + GUARD) - torch.lgamma(k + 1) + zero
        other = other + k * (log_mean - log_sum)
        kept = (1 - p + GUARD).log()
        likelihood = torch.where(k == 0, torch.logaddexp((p + GUARD).log(), kept + zero), kept + other)
        return likelihood.to(counts.dtype)

    @staticmethod
    def cdf(out: Mapping[str, Floats], counts: Floats, size_factor: Floats) -> Floats:
        from scipy.stats import nbinom

        r, dropout = out["dispersion"], out["dropout"]
        below = dropout + (1 - dropout) * nbinom.cdf(counts, r, r / (r + size_factor * out["mean"]))
        return np.asarray(np.where(counts < 0, 0, below))

    @staticmethod
    def moments(out: Parameters) -> tuple[Tensor, Tensor]:
        mean, kept = out["mean"], 1 - out["dropout"]
        return kept * mean, kept * (mean + mean**2 * (1 / out["dispersion"] + out["dropout"]))

    @staticmethod
    def zero_probability(out: Parameters) -> Tensor:
        """Probability of a zero count at size factor 1: from dropout or from the negative binomial."""
        return zero_probability(out["mean"], out["dispersion"], out["dropout"])


class NB(Likelihood):
    """Negative binomial by number of failures r (as its log) and success probability p (as its logit).

    As in the paper (Zeng et al. 2022) its loss sums over genes, ignores the size factor, and omits log(counts!), which
    does not depend on the model. Dispersion r and mean have the bounds of :class:`ZINB`; as published they have none.
    """

    parameter_names = ("log_r", "logit_p")
    sums_genes = True

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        log_r, logit_p = self.linear("log_r", x), self.linear("logit_p", x)
        if not self.published:
            log_r = log_r.clamp(math.log(LEAST_DISPERSION), math.log(MOST_DISPERSION))
            logit_p = torch.clamp(logit_p, math.log(SMALLEST_MEAN) - log_r, math.log(LARGEST_MEAN) - log_r)
        return {"log_r": log_r, "logit_p": logit_p}

    @staticmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """Log-probability of counts [N, G] without the constant log(counts!); ignores the size factor."""
        k, r, logit_p = _double(counts), _double(out["log_r"]).exp(), _double(out["logit_p"])
        rising = torch.lgamma(r + k) - torch.lgamma(r)
        return (rising + k * F.logsigmoid(logit_p) + r * F.logsigmoid(-logit_p)).to(counts.dtype)

    @staticmethod
    def cdf(out: Mapping[str, Floats], counts: Floats, size_factor: Floats) -> Floats:
        """Probability of ``counts`` [N, G] or fewer; ignores the size factor."""
        from scipy.special import expit
        from scipy.stats import nbinom

        # scipy's p is the probability of the other outcome, 1 - p here.
        return np.asarray(nbinom.cdf(counts, np.exp(out["log_r"]), expit(-out["logit_p"])))

    @staticmethod
    def moments(out: Parameters) -> tuple[Tensor, Tensor]:
        mean = (out["log_r"] + out["logit_p"]).exp()
        return mean, mean * (1 + out["logit_p"].exp())

    @staticmethod
    def zero_probability(out: Parameters) -> Tensor:
        return (-out["log_r"].exp() * F.softplus(out["logit_p"])).exp()


class Poisson(Likelihood):
    """Poisson by its rate (before the size factor), for small bins with few counts."""

    parameter_names = ("rate",)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"rate": _positive(self.linear("rate", x))}

    @staticmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        k, rate = _double(counts), _expected(out["rate"], size_factor)
        return (k * rate.log() - rate - torch.lgamma(k + 1)).to(counts.dtype)

    @staticmethod
    def cdf(out: Mapping[str, Floats], counts: Floats, size_factor: Floats) -> Floats:
        from scipy.stats import poisson

        return np.asarray(poisson.cdf(counts, size_factor * out["rate"]))

    @staticmethod
    def moments(out: Parameters) -> tuple[Tensor, Tensor]:
        return out["rate"], out["rate"]

    @staticmethod
    def zero_probability(out: Parameters) -> Tensor:
        return (-out["rate"]).exp()


LIKELIHOODS: dict[str, type[Likelihood]] = {"nb": NB, "poisson": Poisson, "zinb": ZINB}
"""The likelihoods that can be chosen by key; a model with None has no likelihood."""


def likelihood_in(out: Iterable[str] | Mapping[str, Any]) -> type[Likelihood]:
    """Find the likelihood whose parameters a model's output holds.

    Args:
        out: The output, or its names.

    Raises:
        ValueError: If the output holds the parameters of none.

    >>> likelihood_in(["expression", "rate"]).__name__
    'Poisson'
    """
    names = set(out)
    for likelihood in LIKELIHOODS.values():
        if names.issuperset(likelihood.parameter_names):
            return likelihood
    keys = ", ".join(repr(key) for key in LIKELIHOODS)
    raise ValueError(f"The model has no likelihood; build it with likelihood set to one of {keys}.")


def _positive(x: Tensor) -> Tensor:
    # Clamp before the exponential too: the gradient of an infinite value is NaN.
    return x.clamp(max=80).exp().clamp(SMALLEST_MEAN, LARGEST_MEAN)


def _expected(mean: Tensor, size_factor: Tensor) -> Tensor:
    """The expected count, [N, G], kept above 0 in a spot without counts, because its logarithm is taken."""
    return (_double(size_factor) * _double(mean)).clamp(min=1e-30)


def _double(values: Tensor) -> Tensor:
    # Apple's GPUs have no double precision.
    return values if values.device.type == "mps" else values.double()
