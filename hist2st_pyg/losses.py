"""Losses of a model's output and a section's ``Data``, as scalars.

All sections of a batch have the same weight, regardless of their number of spots; with ``reduction="sum"``, all spots
do. Genes that a section did not measure (``gene_mask``) and spots outside ``train_mask``, if set, do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.nn.likelihoods import likelihood_in
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.scatter import scatter

Reduction = Literal["mean", "sum"]
"""Over the spots: the mean in each section and then over the sections, or the sum."""


class Options(NamedTuple):
    """Options of :func:`expression_error`, in its order.

    Args:
        scale: Divisor of each gene's error [G], for standardized targets.
        reduction: Over the spots.
        loss: A key of :data:`LOSSES`.
    """

    scale: Tensor | None = None
    reduction: Reduction = "mean"
    loss: str = "squared"


def training_target(data: Data) -> Tensor:
    """The target of every model, [N, G]: ``y_denoised`` if a ``Data`` or ``Batch`` has it, else ``y``.

    >>> training_target(Data(y=torch.ones(1, 2), y_denoised=torch.zeros(1, 2)))
    tensor([[0., 0.]])
    """
    target: Tensor = data.y_denoised if "y_denoised" in data else data.y
    return target


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"absolute": torch.abs, "squared": torch.square}
"""Elementwise losses of a difference of expression, by key."""


def expression_error(
    out: dict[str, Tensor],
    data: Data,
    scale: Tensor | None = None,
    reduction: Reduction = "mean",
    loss: str = "squared",
) -> Tensor:
    """Error of the predicted expression.

    Each stream of a model must predict the target independently; a joint error would let the streams depend on each
    other.

    Args:
        out: A model's output with ``streams`` [M, N, G] or, without them, ``expression`` [N, G].
        data: A ``Data`` or ``Batch`` with the target ``y_denoised``, or else ``y`` [N, G].
        scale: Divisor of each gene's error [G], for standardized targets.
        reduction: Over the spots.
        loss: A key of :data:`LOSSES`.

    Raises:
        ValueError: If there is no such loss.

    >>> data = Data(y=torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> expression_error({"expression": torch.zeros(2, 2)}, data)
    tensor(7.5000)
    """
    predicted = out["streams"] if "streams" in out else out["expression"][None]
    cost = resolve(LOSSES, loss, "loss")
    return _reduce(cost(_difference(predicted, training_target(data), scale)).mean(0), data, reduction)


def distillation_error(
    distilled: Tensor,
    out: dict[str, Tensor],
    data: Data,
    scale: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference between the distilled and the plain prediction, both [N, G]; both are trained.

    >>> distillation_error(torch.ones(2, 3), {"expression": torch.zeros(2, 3)}, Data())
    tensor(1.)
    """
    return _reduce(_difference(distilled, out["expression"], scale).square(), data, reduction)


def negative_log_likelihood(
    out: dict[str, Tensor], data: Data, reduction: Reduction = "mean", published: bool = False
) -> Tensor:
    """Negative log-likelihood of the raw counts, with the paper's reduction (Zeng et al. 2022).

    It is averaged over genes, or summed if the likelihood sets ``sums_genes``, then reduced over the spots.

    Args:
        out: A model's output with the parameters of one of ``nn.LIKELIHOODS``, each [N, G].
        data: A ``Data`` or ``Batch`` with ``counts`` [N, G] and ``size_factor`` [N].
        reduction: Over the spots.
        published: Use the published formula instead of the exact one, see ``nn.likelihoods.ZINB``.

    Raises:
        ValueError: If the model has no likelihood.

    >>> data = Data(counts=torch.tensor([[0.0], [2.0]]), size_factor=torch.ones(2))
    >>> negative_log_likelihood({"rate": torch.ones(2, 1)}, data)
    tensor(1.3466)
    """
    likelihood = likelihood_in(out)
    log_prob = likelihood.published_log_prob if published else likelihood.log_prob
    return _reduce(-log_prob(out, data.counts, data.size_factor[:, None]), data, reduction, likelihood.sums_genes)


def _difference(a: Tensor, b: Tensor, scale: Tensor | None) -> Tensor:
    return (a - b) / scale if scale is not None else a - b


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
    return scatter(per_spot, batch, len(sections), "mean").mean()
