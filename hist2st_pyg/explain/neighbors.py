"""Explain a prediction by neighbors and edges of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import set_masks

from hist2st_pyg.explain.graph import has_graph, passes_messages, read_graph
from hist2st_pyg.explain.reading import Reading, known
from hist2st_pyg.models import Hist2ST

Floats = NDArray[np.float64]

COEFFICIENTS = {"edge_size": 0.001, "edge_ent": 0.0, "node_feat_size": 0.02, "node_feat_ent": 0.0}
"""Weights of the masks' size and entropy, relative to a loss that is 1 if everything is masked. PyG's values suit the
logarithm of a class probability; with them masks depended on the seed."""
RATE = 0.05
"""Learning rate of the masks."""


@dataclass(frozen=True, eq=False)
class Importance:
    """The importance of the spots and edges in reach.

    Args:
        spots: Spots in reach, indices in the section [K].
        importance: Importance of each spot [K].
        edges: Edges (source, target) between them, indices in the section [2, M].
        edge_importance: Importance of each edge [M]; None if the layers do not pass messages as PyG's do.
        reference: The prediction of average spots, if the importances add up to the difference from it.
    """

    spots: NDArray[np.int64]
    importance: Floats
    edges: NDArray[np.int64]
    edge_importance: Floats | None
    reference: float | None = None


def integrated(reading: Reading, values: list[Tensor], steps: int, epochs: int, seed: int) -> Importance:
    """Each spot's contribution to the prediction: gradients integrated from an average spot's features to its own.

    Importances are signed log10 expression and add up to the prediction minus the reference. Features are those of the
    vision stage, so that contributions through attention count too. An edge's importance is the contribution of its
    messages, compared with no messages.

    Args:
        reading: The prediction.
        values: Its features, from :func:`~hist2st_pyg.explain.reading.features`.
        steps: Points of the path (midpoint rule).
        epochs: Not used.
        seed: Not used.
    """
    means = [reading.mean(value).expand_as(value) for value in values]
    shares = (np.arange(steps) + 0.5) / steps
    total = torch.zeros(len(reading.spots), dtype=torch.float64)
    for share in shares:
        gradients = _gradients(reading, [torch.lerp(*ends, float(share)) for ends in zip(means, values, strict=True)])
        for gradient, value, mean in zip(gradients, values, means, strict=True):
            total += (gradient * (value - mean)).sum(1).double().cpu() / steps
    with torch.no_grad(), known(reading, means):
        reference = float(reading(reading.piece.x[:1]))
    edges, added = _edges(reading, shares)
    return Importance(
        reading.spots[reading.reach].cpu().numpy(), total[reading.reach].cpu().numpy(), edges, added, reference
    )


def gradient(reading: Reading, values: list[Tensor], steps: int, epochs: int, seed: int) -> Importance:
    """The sensitivity of the prediction to each spot: the norm of its gradient by the spot's features.

    Importances are shares that add up to 1. An edge's importance is the size of the gradient by the weight of its
    messages, at weight 1, in log10 expression. With a layer that averages neighbors all edges have about the same.

    Args:
        reading: The prediction.
        values: Its features.
        steps: Not used.
        epochs: Not used.
        seed: Not used.
    """
    squares = [gradient.square().sum(1) for gradient in _gradients(reading, values)]
    norms = torch.stack(squares).sum(0).sqrt().double().cpu()[reading.reach].cpu().numpy()
    edges, slope = _edges(reading, np.ones(1))
    return Importance(
        reading.spots[reading.reach].cpu().numpy(),
        norms / norms.sum() if norms.any() else norms,
        edges,
        None if slope is None else np.abs(slope),
    )


def gnnexplainer(reading: Reading, values: list[Tensor], steps: int, epochs: int, seed: int) -> Importance:
    """Sparse masks of spots and edges, 0 to 1, that preserve the prediction: GNNExplainer (Ying et al. 2019).

    The masks apply to the input of the graph layers. A masked spot becomes an average spot.

    Args:
        reading: The prediction.
        values: Not used.
        steps: Not used.
        epochs: Number of steps that fit the masks.
        seed: Seed of the initial masks.

    Raises:
        TypeError: If the model has no graph stage, or a layer does not pass messages as PyG's do.
    """
    model = reading.model
    if not isinstance(model, Hist2ST):
        raise TypeError(
            f"GNNExplainer needs a graph stage, which {type(model).__name__} does not have; use method='integrated'."
        )
    alone = np.array([int(reading.spots[reading.own])])
    if not has_graph(model):
        return Importance(alone, np.ones(1), np.zeros((2, 0), dtype=np.int64), np.zeros(0))
    if not passes_messages(model):
        layer = type(model.streams[0].gnn.convs[0]).__name__
        raise TypeError(
            f"GNNExplainer masks the messages of PyG's layers, but {layer} does not pass messages that way; use "
            "method='integrated', which works with any layer."
        )
    part = read_graph(reading, model)
    if part.edge_index.shape[1] == 0:
        return Importance(alone, np.ones(1), part.edges.cpu().numpy(), np.zeros(0))
    # Relative to the difference from the fully masked prediction, so that the gene's scale does not matter.
    part.stage.scale /= max(abs(float(part()) - part.masked()), 1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        explainer = Explainer(
            part.stage,
            GNNExplainer(epochs=epochs, lr=RATE, **COEFFICIENTS),
            explanation_type="model",
            node_mask_type="object",
            edge_mask_type="object",
            model_config={"mode": "regression", "task_level": "node"},
        )
        found = explainer(part.x, part.edge_index, edge_attr=part.edge_attr, index=part.own)
    spots, edges = found.node_mask[:, 0].double().cpu().numpy(), found.edge_mask.double().cpu().numpy()
    return Importance(part.spots.cpu().numpy(), spots, part.edges.cpu().numpy(), edges)


METHODS: dict[str, Callable[[Reading, list[Tensor], int, int, int], Importance]] = {
    "gnnexplainer": gnnexplainer,
    "gradient": gradient,
    "integrated": integrated,
}
"""The methods that weight neighbors and edges: ``(reading, features, steps, epochs, seed)``."""


def _gradients(reading: Reading, values: Sequence[Tensor]) -> Sequence[Tensor]:
    """The prediction's gradients by the features."""
    leaves = [value.detach().requires_grad_() for value in values]
    with known(reading, leaves):
        return torch.autograd.grad(reading(reading.piece.x[:1]), leaves)


def _edges(reading: Reading, weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], Floats | None]:
    """The edges in reach, and the prediction's gradient by the weight of each one's messages, mean over weights."""
    if not has_graph(reading.model):
        none = isinstance(reading.model, Hist2ST) or reading.model.num_hops == 0
        return np.zeros((2, 0), dtype=np.int64), np.zeros(0) if none else None
    part = read_graph(reading, reading.model)
    if not passes_messages(reading.model):
        return part.edges.cpu().numpy(), None
    total = torch.zeros(part.edge_index.shape[1], dtype=torch.float64)
    for weight in weights:
        mask = torch.full((len(total),), float(weight), requires_grad=True)
        set_masks(part.stage, mask, part.edge_index, apply_sigmoid=False)
        total += torch.autograd.grad(part(), mask)[0].double()
    return part.edges.cpu().numpy(), (total / len(weights)).cpu().numpy()
