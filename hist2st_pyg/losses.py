"""Losses: what a model's output and a section's ``Data`` give, as one number.

In a batch each section counts the same, whatever its number of spots; with ``reduction="sum"`` each spot does. Genes
that a section did not measure (``gene_mask``) and spots outside ``train_mask``, where there is one, do not count.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_scatter import scatter

Reduction = Literal["mean", "sum"]
"""Over the spots: their mean in each section and then over the sections, or their sum."""


def training_target(data: Data) -> Tensor:
    """What every model is fitted to, [N, G]: ``y_denoised`` where a ``Data`` or ``Batch`` has it, else ``y``."""
    target: Tensor = data.y_denoised if "y_denoised" in data else data.y
    return target


def squared_error(
    out: dict[str, Tensor], data: Data, scale: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Squared error of the expression.

    Where a model has several streams, each is to predict the target on its own; together they would lean on each other.

    Args:
        out: A model's output; ``streams`` [M, N, G] is used where there is one, else ``expression`` [N, G].
        data: A ``Data`` or ``Batch`` with the target ``y_denoised``, or else ``y`` [N, G].
        scale: Divisor of each gene's error [G], for standardised targets.
        reduction: Over the spots.
    """
    predicted = out["streams"] if "streams" in out else out["expression"][None]
    return _reduce(_squared(predicted, training_target(data), scale).mean(0), data, reduction)


def distillation_error(
    distilled: Tensor,
    out: dict[str, Tensor],
    data: Data,
    scale: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference between the distilled and the plain prediction, both [N, G]; both are trained."""
    return _reduce(_squared(distilled, out["expression"], scale), data, reduction)


def negative_log_likelihood(out: dict[str, Tensor], data: Data, reduction: Reduction = "mean") -> Tensor:
    """Negative log-likelihood of the raw counts, with the paper's reduction (Zeng et al. 2022).

    The zero-inflated negative binomial is averaged over spots and genes and its mean is multiplied by the spot's size
    factor; the negative binomial is summed over genes, averaged over spots, and leaves out the counts' factorial, which
    does not depend on the model.

    Args:
        out: A model's output with the parameters of a likelihood, each [N, G].
        data: A ``Data`` or ``Batch`` with ``counts`` [N, G] and ``size_factor`` [N].
        reduction: Over the spots.

    Raises:
        ValueError: If the model has no likelihood.
    """
    if "dispersion" in out:
        return _reduce(
            -zinb_log_prob(data.counts, data.size_factor[:, None] * out["mean"], out["dispersion"], out["dropout"]),
            data,
            reduction,
        )
    if "log_r" in out:
        return _reduce(-nb_log_prob(data.counts, out["log_r"], out["logit_p"]), data, reduction, sum_genes=True)
    raise ValueError("The model's output has no likelihood; build the model with likelihood='zinb' or 'nb'.")


def zinb_log_prob(counts: Tensor, mean: Tensor, dispersion: Tensor, dropout: Tensor, eps: float = 1e-10) -> Tensor:
    """Log-probability of counts under the zero-inflated negative binomial, elementwise.

    Args:
        counts: Raw counts.
        mean: Mean of the negative binomial, size factor included.
        dispersion: Inverse dispersion θ; the variance of the negative binomial is mean + mean² / θ.
        dropout: Probability of an extra zero.
        eps: Keeps logarithms finite, as in the original program.
    """
    log_mean, log_dispersion, log_sum = (mean + eps).log(), (dispersion + eps).log(), (dispersion + mean + eps).log()
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


def nb_log_prob(counts: Tensor, log_r: Tensor, logit_p: Tensor) -> Tensor:
    """Log-probability of counts under the negative binomial, but for the constant log(counts!), elementwise.

    Args:
        counts: Raw counts.
        log_r: Logarithm of the number of failures.
        logit_p: Logit of the success probability.
    """
    r = log_r.exp()
    return torch.lgamma(r + counts) - torch.lgamma(r) + logit_p * counts - F.softplus(logit_p) * (counts + r)


def _squared(a: Tensor, b: Tensor, scale: Tensor | None) -> Tensor:
    return ((a - b) / scale) ** 2 if scale is not None else (a - b) ** 2


def _reduce(values: Tensor, data: Data, reduction: Reduction, sum_genes: bool = False) -> Tensor:
    """[N, G] -> scalar: over a section's genes, then its spots, then the sections; or over all spots."""
    batch = data.get("batch")
    if batch is None:
        batch = torch.zeros(len(values), dtype=torch.long, device=values.device)
    gene_mask = data.get("gene_mask")
    if gene_mask is not None:
        mask = gene_mask.reshape(-1, values.shape[1])[batch]
        per_spot = (values * mask).sum(1) / (1 if sum_genes else mask.sum(1))
    else:
        per_spot = values.sum(1) if sum_genes else values.mean(1)
    train_mask = data.get("train_mask")
    if train_mask is not None:
        per_spot, batch = per_spot[train_mask], batch[train_mask]
    if reduction == "sum":
        return per_spot.sum()  # type: ignore[no-any-return]
    sections, batch = batch.unique(return_inverse=True)
    return scatter(per_spot, batch, dim=0, dim_size=len(sections), reduce="mean").mean()  # type: ignore[no-any-return]
