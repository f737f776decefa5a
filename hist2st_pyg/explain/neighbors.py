"""Explain a prediction by neighbors and edges: integrated gradients (Sundararajan et al., ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.explain.receptive_field import ReceptiveField, fixed_features
from hist2st_pyg.models import Hist2ST
from hist2st_pyg.utils.rows import Floats


@dataclass(frozen=True, eq=False)
class Contributions:
    """The contributions of spots and edges to a prediction.

    Args:
        spots: The spots that it reads, indices in the section [K].
        importance: The contribution of each spot, signed log10 expression [K].
        reference: The prediction of average spots; the importances add up to the difference from it.
        edges: Edges (source, target) between the spots, indices in the section [2, M].
        edge_importance: The contribution of each edge's messages [M]; None if the layers are not PyG's MessagePassing.
    """

    spots: NDArray[np.int64]
    importance: Floats
    reference: float
    edges: NDArray[np.int64]
    edge_importance: Floats | None


def contributions(field: ReceptiveField, values: list[Tensor], steps: int) -> Contributions:
    """Integrate the prediction's gradient from an average spot's features to each spot's own.

    Features are those of the vision stage, so that contributions through attention are included. The contribution of an
    edge is that of its messages, compared with no messages.

    Args:
        field: The prediction.
        values: Its features, from :func:`~hist2st_pyg.explain.receptive_field.features`.
        steps: Points of the path (midpoint rule).

    Raises:
        ValueError: If the prediction has no gradient.
    """
    means = [field.average(value).expand_as(value) for value in values]
    shares = [(step + 0.5) / steps for step in range(steps)]
    total = torch.zeros(len(field.spots), dtype=torch.float64)
    for share in shares:
        leaves = [torch.lerp(*ends, share).detach().requires_grad_() for ends in zip(means, values, strict=True)]
        with fixed_features(field, leaves):
            prediction = field.predict(field.subgraph.x[:1])
        if not prediction.requires_grad:
            raise ValueError(
                f"The prediction of this {type(field.model).__name__} is not differentiable in the patches' features, "
                "so it cannot be explained by gradients; a bleep with weighting='distance' can."
            )
        gradients = torch.autograd.grad(prediction, leaves)
        for gradient, value, mean in zip(gradients, values, means, strict=True):
            total += (gradient * (value - mean)).sum(1).double().cpu() / steps
    with torch.no_grad(), fixed_features(field, means):
        reference = float(field.predict(field.subgraph.x[:1]))
    spots, importance = field.spots[field.inside].cpu().numpy(), total[field.inside].cpu().numpy()
    return Contributions(spots, importance, reference, *_edges(field, values, shares))


def _edges(field: ReceptiveField, values: list[Tensor], shares: list[float]) -> tuple[NDArray[np.int64], Floats | None]:
    """Return the edges within the graph layers' hops, and the gradient of the prediction by their message weights."""
    model, edge_index = field.model, field.subgraph.edge_index
    layers = list(model.streams[0].gnn.convs) if isinstance(model, Hist2ST) else []
    if not layers:
        known = isinstance(model, Hist2ST) or model.num_hops == 0
        return np.zeros((2, 0), dtype=np.int64), np.zeros(0) if known else None
    inside = torch.ones(edge_index.shape[1], dtype=torch.bool, device=edge_index.device)
    if model.num_hops is not None:
        inside = k_hop_subgraph(field.center, model.num_hops, edge_index, num_nodes=len(field.spots))[3]
    edges = field.spots[edge_index[:, inside].cpu()].cpu().numpy()
    if not all(map(_passes_messages, layers)):
        return edges, None
    total = torch.zeros(edge_index.shape[1], dtype=torch.float64)
    try:
        for share in shares:
            mask = torch.full((len(total),), share, device=edge_index.device, requires_grad=True)
            set_masks(model, mask, edge_index, apply_sigmoid=False)
            with fixed_features(field, values):
                prediction = field.predict(field.subgraph.x[:1])
            total += torch.autograd.grad(prediction, mask)[0].double().cpu() / len(shares)
    finally:
        clear_masks(model)
    return edges, total[inside.cpu()].cpu().numpy()


def _passes_messages(layer: torch.nn.Module) -> bool:
    """Whether PyG can weight the messages of a graph layer."""
    found = [module for module in layer.modules() if isinstance(module, MessagePassing)]
    return bool(found) and all(module.explain is not False for module in found)
