"""The input of one prediction: the spots in its receptive field, and their features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.spot_patches import Patches, rows_of
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.base import ClosedFormModel, ExpressionModel
from hist2st_pyg.models.section_moments import section_moments
from hist2st_pyg.nn.foundation import FoundationEncoder

GRAPH_FIELDS = ("edge_index", "edge_attr", "pos", "grid")
"""The fields of a section's ``Data``, besides ``x``, that a model reads when it predicts from images."""
REFERENCE_SPOTS = 64
"""Number of spots, evenly spaced over the section, whose mean is the average spot."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """One gene's prediction at one spot, and the part of the section that it reads.

    Args:
        model: The model, in evaluation mode.
        subgraph: The K spots that the prediction or the average spot uses, on the model's device.
        spots: Their indices in the section [K].
        center: The row of the explained spot.
        gene: The gene's column.
        inside: Rows of the spots that the prediction reads.
        reference: Rows of the spots whose mean is the average spot.
    """

    model: ExpressionModel
    subgraph: SectionData
    spots: Tensor
    center: int
    gene: int
    inside: Tensor
    reference: Tensor

    def predict(self, x: Tensor | None = None) -> Tensor:
        """Predict log10 expression; within :func:`fixed_features`, from the given patches."""
        subgraph = self.subgraph
        if x is not None:
            subgraph = SectionData(**{key: subgraph[key] for key in GRAPH_FIELDS}, x=x, num_nodes=len(self.spots))
            subgraph.section_moments = self.subgraph.get("section_moments")
        return self.model(subgraph)["expression"][self.center, self.gene]  # type: ignore[no-any-return]

    def average(self, value: Tensor) -> Tensor:
        """Compute the features [1, C] of the average spot from features [K, C]."""
        return value[self.reference.to(value.device)].mean(0, keepdim=True)


def receptive_field(
    model: ExpressionModel, data: SectionData, spot: int, gene: int, patches: Patches | None = None
) -> ReceptiveField:
    """Extract the part of the section that a prediction reads: within ``receptive_field``, or all of it.

    Args:
        model: The model.
        data: The section.
        spot: The spot's index.
        gene: The gene's column.
        patches: The patches of the spots, if ``data`` has no ``x``.

    Raises:
        ValueError: If both ``x`` and ``patches`` are missing.
    """
    if patches is None and data.get("x") is None:
        raise ValueError("The section's data has no x (patches or embeddings); set it, or pass patches.")
    n, hops = len(data.pos), model.receptive_field
    reference = torch.linspace(0, n - 1, min(n, REFERENCE_SPOTS)).round().long()
    inside = torch.arange(n)
    if hops is not None:
        inside = k_hop_subgraph(spot, hops, data.edge_index, num_nodes=n)[0]
    spots: Tensor = torch.unique(torch.cat([inside, reference]))
    subgraph = SectionData(**{key: data[key] for key in GRAPH_FIELDS}, num_nodes=n)
    if len(spots) < n:
        subgraph = subgraph.subgraph(spots)
    patches = rows_of(data.x) if patches is None else patches
    subgraph.x = patches(spots.cpu().numpy() if len(spots) < n else None)
    if len(spots) < n and (moments := section_moments(model, n, patches)) is not None:
        subgraph.section_moments = moments.cpu()
    rows = [torch.searchsorted(spots, which) for which in (torch.tensor([spot]), inside, reference)]
    return ReceptiveField(model, subgraph.to(model.target_mean.device), spots, int(rows[0]), gene, rows[1], rows[2])


def vision_stages(model: ExpressionModel) -> list[nn.Module]:
    """Return the model's vision stages, one per stream.

    Raises:
        TypeError: If the model is not differentiable or has no vision stage.
    """
    stages = model.vision_stages
    if isinstance(model, ClosedFormModel) or not stages:
        learns = [
            key for key, cls in MODELS.items() if not (isinstance(cls, type) and issubclass(cls, ClosedFormModel))
        ]
        raise TypeError(
            f"{type(model).__name__} cannot be explained: this needs a vision stage trained by gradients, as in "
            f"{', '.join(sorted(learns))}."
        )
    return stages


@contextmanager
def eval_mode(model: ExpressionModel) -> Iterator[None]:
    """Set evaluation mode with gradients, also in frozen encoders; restore the model afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    frozen = [module for module in model.modules() if isinstance(module, FoundationEncoder) and module.frozen]
    model.eval()
    for encoder in frozen:
        encoder.frozen = False
    try:
        # cuDNN's recurrent layers have no gradient in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for encoder in frozen:
            encoder.frozen = True


@contextmanager
def hooked(modules: list[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Register a forward hook on modules during the block."""
    with ExitStack() as handles:
        for module in modules:
            handles.enter_context(module.register_forward_hook(hook))
        yield


def features(field: ReceptiveField) -> tuple[float, list[Tensor]]:
    """Return the prediction and its features [K, C], one for each call of a vision stage."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: Any, out: Tensor) -> None:
        seen.append(out)

    with torch.no_grad(), hooked(vision_stages(field.model), keep):
        return float(field.predict()), seen


@contextmanager
def fixed_features(field: ReceptiveField, values: list[Tensor], row: int | None = None) -> Iterator[None]:
    """Replace the vision stages' output by given features, except for one patch, which they encode.

    Vision stages encode each spot independently, so this only saves time.

    Args:
        field: The prediction, to be called once with one patch [1, ...].
        values: Features from :func:`features`, or substitutes.
        row: The row of the patch; None ignores the patch.
    """
    calls = list(values)

    def fill(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        value = calls.pop(0)
        if row is None:
            return value
        # A stage that reads the replaced output of another stage encodes all rows.
        own = out[row : row + 1] if len(out) > 1 else out
        return value.index_copy(0, torch.tensor([row], device=out.device), own)

    with hooked(vision_stages(field.model), fill):
        yield
