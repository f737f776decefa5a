"""The distributions of raw counts: each class has its parameters, log-probability, moments and cumulative function.

A new likelihood is one class and one line of :data:`LIKELIHOODS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]
Parameters = Mapping[str, Tensor]
"""A likelihood's parameters by name, each [N spots, G genes]."""

SMALLEST, LARGEST = 1e-5, 1e6
"""Bounds of a mean, those of Zeng et al. (2022)."""


class Likelihood(nn.Module, ABC):
    """A distribution of each spot's raw counts, with parameters read from the spot's embedding.

    ``forward`` maps embeddings [N, C] to the parameters, each [N, G], under the names of ``parameter_names``. No other
    likelihood has these names, so that they identify the likelihood in a model's output.
    """

    parameter_names: ClassVar[tuple[str, ...]]
    sums_genes: ClassVar[bool] = False
    """Whether the loss sums over genes; else it averages."""

    def __init__(self, channels: int, n_genes: int) -> None:
        super().__init__()
        for name in self.parameter_names:
            setattr(self, name, nn.Linear(channels, n_genes))

    def linear(self, name: str, x: Tensor) -> Tensor:
        """The parameter's linear map of embeddings [N, C]."""
        return getattr(self, name)(x)  # type: ignore[no-any-return]

    @staticmethod
    @abstractmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """Log-probability of counts [N, G] in spots of size factor [N, 1], elementwise."""

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

    Parameters, clamps and the guard of the logarithms are the paper's (Zeng et al. 2022). The variance of the negative
    binomial is mean + mean² / dispersion.
    """

    parameter_names = ("mean", "dispersion", "dropout")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {
            "mean": _positive(self.linear("mean", x)),
            "dispersion": F.softplus(self.linear("dispersion", x)).clamp(1e-4, 1e4),
            "dropout": self.linear("dropout", x).sigmoid(),
        }

    @staticmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor, eps: float = 1e-10) -> Tensor:
        """Log-probability of counts [N, G] in spots of size factor [N, 1]; ``eps`` keeps logarithms finite."""
        mean, dispersion, dropout = size_factor * out["mean"], out["dispersion"], out["dropout"]
        log_mean, log_dispersion, log_sum = (
            (mean + eps).log(),
            (dispersion + eps).log(),
            (dispersion + mean + eps).log(),
        )
        zero = dispersion * (log_dispersion - log_sum)
        other = (
            torch.lgamma(counts + dispersion + eps)
            - torch.lgamma(dispersion + eps)
            - torch.lgamma(counts + 1)
            + zero
            + counts * (log_mean - log_sum)
        )
        kept = (1 - dropout + eps).log()
        return torch.where(counts == 0, torch.logaddexp((dropout + eps).log(), kept + zero), kept + other)

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
        zero = (-out["dispersion"] * torch.log1p(out["mean"] / out["dispersion"])).exp()
        return out["dropout"] + (1 - out["dropout"]) * zero


class NB(Likelihood):
    """Negative binomial by number of failures r (as its log) and success probability p (as its logit).

    As in the paper (Zeng et al. 2022) its loss sums over genes, ignores the size factor, and omits log(counts!), which
    does not depend on the model.
    """

    parameter_names = ("log_r", "logit_p")
    sums_genes = True

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: self.linear(name, x) for name in self.parameter_names}

    @staticmethod
    def log_prob(out: Parameters, counts: Tensor, size_factor: Tensor) -> Tensor:
        """Log-probability of counts [N, G] without the constant log(counts!); ignores the size factor."""
        r, logit_p = out["log_r"].exp(), out["logit_p"]
        return torch.lgamma(r + counts) - torch.lgamma(r) + logit_p * counts - F.softplus(logit_p) * (counts + r)

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
        rate = size_factor * out["rate"]
        return torch.xlogy(counts, rate) - rate - torch.lgamma(counts + 1)

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
    # Clamped before the exponential too: the gradient of an infinite one is NaN.
    return x.clamp(max=80).exp().clamp(SMALLEST, LARGEST)
