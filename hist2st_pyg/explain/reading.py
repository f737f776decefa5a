"""What one prediction reads: the spots in its reach, and what the vision stage says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.source import Patches
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.base import ClosedFormModel, ExpressionModel
from hist2st_pyg.nn.foundation import FoundationEncoder

GRAPH = ("edge_index", "edge_attr", "pos", "grid")
"""What a model that predicts from images reads of a section's ``Data`` beside ``x``."""
SAMPLE = 64
"""Spots, evenly over the section, whose mean stands for an average spot."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One gene's prediction at one spot, and the part of the section that it reads.

    Args:
        model: The model, in evaluation mode.
        piece: The spots in reach and the sampled ones, K of them, as a ``Data`` of their own on the model's device.
        spots: Their places in the section [K].
        own: The spot's row in the piece.
        gene: The gene's column.
        reach: Rows of the spots in reach.
        sample: Rows of the sampled spots.
    """

    model: ExpressionModel
    piece: SectionData
    spots: Tensor
    own: int
    gene: int
    reach: Tensor
    sample: Tensor

    def __call__(self, x: Tensor | None = None) -> Tensor:
        """The prediction, log10 expression; where patches are given, inside :func:`known`, of those."""
        piece = self.piece
        if x is not None:
            piece = SectionData(**{key: piece[key] for key in GRAPH}, x=x, num_nodes=len(self.spots))
        return self.model(piece)["expression"][self.own, self.gene]  # type: ignore[no-any-return]

    def mean(self, value: Tensor) -> Tensor:
        """An average spot's features [1, C] of features [K, C]."""
        return value[self.sample.to(value.device)].mean(0, keepdim=True)


def read(model: ExpressionModel, data: SectionData, spot: int, gene: int, patches: Patches | None = None) -> Reading:
    """Cut out what a prediction reads: what ``receptive_field`` reach, or all of the section.

    Args:
        model: The model.
        data: The section.
        spot: The spot's place.
        gene: The gene's column.
        patches: What the spots show, where ``data`` has no ``x``.

    Raises:
        ValueError: If neither says what the spots show.
    """
    if patches is None and data.get("x") is None:
        raise ValueError("The section's data has no x (patches or embeddings); give it, or patches.")
    n, hops = len(data.pos), model.receptive_field
    sample = torch.linspace(0, n - 1, min(n, SAMPLE)).round().long()
    reach = torch.arange(n)
    if hops is not None:
        reach = k_hop_subgraph(spot, hops, data.edge_index, num_nodes=n)[0]
    spots: Tensor = torch.unique(torch.cat([reach, sample]))
    piece = SectionData(**{key: data[key] for key in GRAPH}, num_nodes=n)
    if len(spots) < n:
        piece = piece.subgraph(spots)
    if patches is None:
        piece.x = data.x[spots]
    else:
        piece.x = patches(spots.cpu().numpy() if len(spots) < n else None)
    rows = [torch.searchsorted(spots, which) for which in (torch.tensor([spot]), reach, sample)]
    return Reading(model, piece.to(model.target_mean.device), spots, int(rows[0]), gene, rows[1], rows[2])


def vision_stages(model: ExpressionModel) -> list[nn.Module]:
    """The model's vision stage and, where it has a second stream, that one's.

    Raises:
        TypeError: If the model is not differentiable or has no vision stage.
    """
    stages = model.vision_stages
    if isinstance(model, ClosedFormModel) or not stages:
        learns = [
            key for key, cls in MODELS.items() if not (isinstance(cls, type) and issubclass(cls, ClosedFormModel))
        ]
        raise TypeError(
            f"{type(model).__name__} cannot be explained: gradients go through a vision stage that learns by them, as "
            f"those of {', '.join(sorted(learns))} do."
        )
    return stages


@contextmanager
def at_rest(model: ExpressionModel) -> Iterator[None]:
    """Evaluation mode with gradients, through frozen encoders too; the model is as it was afterwards."""
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
def hooked(modules: list[nn.Module], hook: Callable[..., Any], before: bool = False) -> Iterator[None]:
    """Hook modules for as long as the block lasts."""
    with ExitStack() as handles:
        for module in modules:
            handles.enter_context(
                module.register_forward_pre_hook(hook) if before else module.register_forward_hook(hook)
            )
        yield


def features(reading: Reading) -> tuple[float, list[Tensor]]:
    """The prediction, and the features [K, C] it is made of, one for each call of a vision stage."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: Any, out: Tensor) -> None:
        seen.append(out)

    with torch.no_grad(), hooked(vision_stages(reading.model), keep):
        return float(reading()), seen


@contextmanager
def known(reading: Reading, values: list[Tensor], row: int | None = None) -> Iterator[None]:
    """Let the vision stages be given one patch; what they say of the spots is known, but for that patch's.

    Each spot is encoded alone, so that nothing changes but the time it takes.

    Args:
        reading: The prediction, to be called with one patch [1, ...] once.
        values: Features as :func:`features` gives them, or others in their place.
        row: The spot that the patch is of; None takes nothing from it.
    """
    calls = list(values)

    def fill(module: nn.Module, args: Any, out: Tensor) -> Tensor:
        value = calls.pop(0)
        return value if row is None else value.index_copy(0, torch.tensor([row], device=out.device), out)

    with hooked(vision_stages(reading.model), fill):
        yield
