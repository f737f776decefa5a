"""The heads: what is predicted from a spot's embedding, [N, C] -> [N, G]."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ExpressionHead(nn.Sequential):
    """LayerNorm and a linear map to the expression of each gene.

    Shapes:
        - [N, C] -> [N, G]
    """

    def __init__(self, channels: int, n_genes: int) -> None:
        super().__init__(nn.LayerNorm(channels), nn.Linear(channels, n_genes))


class ZINBHead(nn.Module):
    """Zero-inflated negative binomial: mean (before the size factor), dispersion, dropout probability, each [N, G].

    The clamps are the paper's (Zeng et al. 2022).
    """

    def __init__(self, channels: int, n_genes: int) -> None:
        super().__init__()
        self.mean = nn.Linear(channels, n_genes)
        self.dispersion = nn.Linear(channels, n_genes)
        self.dropout = nn.Linear(channels, n_genes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Parameters from embeddings [N, C]."""
        return {
            # Clamped before the exponential too: an infinite one has no gradient but NaN.
            "mean": self.mean(x).clamp(max=80).exp().clamp(1e-5, 1e6),
            "dispersion": F.softplus(self.dispersion(x)).clamp(1e-4, 1e4),
            "dropout": self.dropout(x).sigmoid(),
        }

    @staticmethod
    def moments(out: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and variance of the counts at size factor 1."""
        mean, kept = out["mean"], 1 - out["dropout"]
        return kept * mean, kept * (mean + mean**2 * (1 / out["dispersion"] + out["dropout"]))

    @staticmethod
    def zero_probability(out: dict[str, Tensor]) -> Tensor:
        """Probability of no count at size factor 1: dropout, or the negative binomial's own zero."""
        zero = (-out["dispersion"] * torch.log1p(out["mean"] / out["dispersion"])).exp()
        return out["dropout"] + (1 - out["dropout"]) * zero


class NBHead(nn.Module):
    """Negative binomial by number of failures r (as its log) and success probability p (as its logit), each [N, G]."""

    def __init__(self, channels: int, n_genes: int) -> None:
        super().__init__()
        self.log_r = nn.Linear(channels, n_genes)
        self.logit_p = nn.Linear(channels, n_genes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Parameters from embeddings [N, C]."""
        return {"log_r": self.log_r(x), "logit_p": self.logit_p(x)}

    @staticmethod
    def moments(out: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and variance of the counts."""
        mean = (out["log_r"] + out["logit_p"]).exp()
        return mean, mean * (1 + out["logit_p"].exp())

    @staticmethod
    def zero_probability(out: dict[str, Tensor]) -> Tensor:
        """Probability of no count."""
        return (-out["log_r"].exp() * F.softplus(out["logit_p"])).exp()


LikelihoodHead = ZINBHead | NBHead
LIKELIHOODS: dict[str, Callable[[int, int], LikelihoodHead]] = {"nb": NBHead, "zinb": ZINBHead}
"""The likelihoods that can be chosen by key; None is the model without one."""


class Distillation(nn.Module):
    """Self-distillation: the views' predictions averaged with weights from each view's embedding (Zeng et al. 2022).

    Shapes:
        - embeddings [V views, N, C], expressions [V, N, G] -> [N, G]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 1))

    def forward(self, embeddings: Tensor, expressions: Tensor) -> Tensor:
        """Average the views of each spot."""
        return torch.sum(self.weight(embeddings).softmax(dim=0) * expressions, dim=0)
