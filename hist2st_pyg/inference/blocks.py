"""Run a model on a section, at once or in blocks of neighboring spots, which bound the memory."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.parts import SectionParts, spatial_blocks
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.spot_patches import Patches, kept_open
from hist2st_pyg.inference.domain_shift import Colors, log_notes
from hist2st_pyg.inference.running import find_device, on_device
from hist2st_pyg.inference.stages import Keep, collected, encoded, from_features, predicted
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.counts import CountsModel
from hist2st_pyg.models.section_moments import moments_of_features, section_moments
from hist2st_pyg.utils.progress import tqdm

BLOCK_SPOTS = 1024
"""Largest number of spots in a block."""

WHOLE_SECTION_SPOTS = 5000
"""Largest number of spots predicted at once by a model that needs the whole section."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a section.

    Args:
        values: The selected values of the model's output, each [N, ...].
        color_distance: See :attr:`~hist2st_pyg.inference.domain_shift.Colors.distance`.
        notes: Warnings to store with the prediction.
    """

    values: dict[str, NDArray[np.float32]]
    color_distance: float | None
    notes: list[str]


def with_moments(
    model: ExpressionModel, out: dict[str, Tensor], genes: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """Return ``expression`` [N, G], ``embedding`` [N, C] and the moments of a likelihood.

    The moments are ``mean``, ``sd`` and ``zero_probability`` [N, G] of the counts at size factor 1. The likelihood's
    parameters are dropped to save memory.

    Args:
        model: The model.
        out: Its output.
        genes: The columns to keep of values [N, G]; None keeps all.
    """
    kept = {"expression": out["expression"]}
    likelihood = getattr(model, "likelihood", None)
    if likelihood is not None:
        mean, variance = likelihood.moments(out)
        kept |= {"mean": mean, "sd": variance.sqrt(), "zero_probability": likelihood.zero_probability(out)}
    if genes is not None:
        kept = {name: value[:, genes] for name, value in kept.items()}
    return kept | {"embedding": out["embedding"]}


def predict_blocks(
    model: ExpressionModel,
    graph: SectionData,
    patches: Patches,
    *,
    block: int = BLOCK_SPOTS,
    device: str = "auto",
    name: str = "section",
    keep: Keep = with_moments,
    spots: NDArray[np.int64] | None = None,
    warn: bool = True,
) -> Prediction:
    """Predict a section, holding the patches of one block at a time.

    Each block includes the surrounding spots within the model's ``receptive_field``, so that the result equals that of
    the whole section. A model with a likelihood or local attention encodes each patch once, in blocks, and predicts
    from the features; with local attention, from the features of the whole section. A model that needs the whole
    section predicts up to :data:`WHOLE_SECTION_SPOTS` spots at once. On larger sections, self-attention and shared
    exemplars are limited to the block, with a note; other models of this kind raise an error.

    Args:
        model: The model.
        graph: The section's graph, and the counts if the model reads them.
        patches: The patches of its spots.
        block: Largest number of spots in a block.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        name: The section's name, for the progress bar and errors.
        keep: Selects the values to keep, by default :func:`with_moments`.
        spots: The spots to predict, ascending; None predicts all.
        warn: Log the notes.

    Raises:
        ValueError: If ``block`` is below 1, the section is too large for the model, or a value is not finite.
    """
    device = find_device(device)
    n = len(graph.pos)
    pos = graph.pos.cpu().numpy()
    blocks, hops, notes = _plan(model, pos, block, name)
    if spots is not None and len(blocks) > 1 and model.receptive_field is not None:
        blocks = [spots[own] for own in spatial_blocks(pos[spots], block)]
    if warn:
        log_notes(notes, name)
    colors, parts, local = Colors(model), SectionParts(graph), model.attends == "local"
    in_parts = len(blocks) > 1 or len(blocks[0]) < n
    in_stages = in_parts and (local or (isinstance(model, CountsModel) and model.receptive_field is not None))
    shown = blocks
    if in_stages and spots is not None and not local:  # the spots and those that they read
        near = parts.around(torch.from_numpy(spots), hops).cpu().numpy()
        shown = [near[own] for own in spatial_blocks(pos[near], block)]
    with (
        on_device(model, device),  # move the model once, not for every block
        kept_open(patches) as opened,
        tqdm(
            total=sum(map(len, shown)), desc=f"spots of {name}", leave=False, disable=None if in_parts else True
        ) as bar,
    ):
        if in_stages:
            made = encoded(model, parts, opened, shown, device, colors, spots)
            kept = collected(made, shown, n, model, name, bar)
            features = [torch.from_numpy(each) for each in kept.values()]
            if not local:
                whole = moments_of_features(model, features) if spots is None else section_moments(model, n, opened)
                parts = SectionParts(_with_moments(graph, whole))
            blocks = [np.arange(n)] if local else blocks
            made = from_features(model, parts, features, blocks, hops, device, keep)
            values = collected(made, blocks, n, model, name, None)
        else:
            if in_parts:
                parts = SectionParts(_with_moments(graph, section_moments(model, n, opened)))
            made = predicted(model, parts, opened, blocks, hops, device, keep, colors)
            values = collected(made, blocks, n, model, name, bar)
    if warn:
        log_notes(colors.notes, name)
    if spots is not None:
        values = {key: value[spots] for key, value in values.items()}
    return Prediction(values, colors.distance, [*notes, *colors.notes])


def _with_moments(graph: SectionData, moments: Tensor | None) -> SectionData:
    """Add the moments that the model standardizes the section by, so that blocks match the whole section."""
    if moments is not None:
        graph = copy.copy(graph)
        graph.section_moments = moments.cpu()
    return graph


def _plan(
    model: ExpressionModel, pos: NDArray[np.floating], block: int, name: str
) -> tuple[list[NDArray[np.int64]], int, list[str]]:
    """Return the blocks, the number of hops of context around each, and notes."""
    if block < 1:
        raise ValueError(f"block must be 1 spot or more, got {block!r}.")
    n, hops = len(pos), model.receptive_field
    if n <= block:
        return [np.arange(n)], 0, []
    if model.attends == "local":
        return spatial_blocks(pos, block), 0, []
    if hops is None and n <= WHOLE_SECTION_SPOTS:
        return [np.arange(n)], 0, []
    notes = []
    if hops is None:
        hops = model.num_hops
        if hops is None:
            raise ValueError(
                f"Section {name!r} has {n} spots, but the model {type(model).__name__} reads a whole section at once, "
                f"at most {max(WHOLE_SECTION_SPOTS, block)} spots. Set block={n} if memory allows, or predict parts "
                "of the section."
            )
        notes.append(
            f"The section has {n} spots, too many to read at once: each spot reads only its block of at most {block} "
            "spots and their surroundings, so predictions may change at the borders of blocks."
        )
    return spatial_blocks(pos, block), hops, notes
