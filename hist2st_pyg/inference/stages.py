"""Run a model on a section's blocks, from their patches or in two stages, features first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.spot_patches import Patches
from hist2st_pyg.inference.domain_shift import Colors
from hist2st_pyg.inference.running import run_model
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.utils.runtime import trim_memory

Item = TypeVar("Item")
Made = TypeVar("Made")
Keep = Callable[[ExpressionModel, dict[str, Tensor]], dict[str, Tensor]]
"""Selects the values to keep from a model and its output on a block, one row per spot."""


def encoded(
    model: ExpressionModel,
    parts: SectionParts,
    patches: Patches,
    blocks: list[NDArray[np.int64]],
    device: str,
    colors: Colors,
    spots: NDArray[np.int64] | None,
) -> Iterator[dict[str, Tensor]]:
    """Compute each vision stage's features of the patches, block by block; colors cover only the requested spots."""
    with closing(_prefetched(partial(_piece, parts, patches, 0), blocks)) as pieces:
        for of_block, (piece, _) in zip(blocks, pieces, strict=True):
            colors.add(piece.x if spots is None else piece.x[torch.from_numpy(np.isin(of_block, spots))])
            with torch.inference_mode():
                made = model.features(piece.to(device))
            yield {f"features of stage {stage}": value.float() for stage, value in enumerate(made)}


def from_features(
    model: ExpressionModel,
    parts: SectionParts,
    features: Sequence[Tensor],
    blocks: list[NDArray[np.int64]],
    hops: int,
    device: str,
    keep: Keep,
) -> Iterator[dict[str, Tensor]]:
    """Predict each block from the features of its spots and their surroundings, and select the values to keep."""
    for spots in blocks:
        piece, around, own = _part(parts, hops, spots)
        given = features if around is None else [each[around] for each in features]
        made = keep(model, run_model(model, piece, device, given))
        yield {key: value[own] for key, value in made.items()}


def predicted(
    model: ExpressionModel,
    parts: SectionParts,
    patches: Patches,
    blocks: list[NDArray[np.int64]],
    hops: int,
    device: str,
    keep: Keep,
    colors: Colors,
) -> Iterator[dict[str, Tensor]]:
    """Predict each block from the patches of its spots and their surroundings, and select the values to keep."""
    with closing(_prefetched(partial(_piece, parts, patches, hops), blocks)) as pieces:
        for piece, own in pieces:
            colors.add(piece.x[own])
            made = keep(model, run_model(model, piece, device))
            yield {key: value[own] for key, value in made.items()}


def collected(
    made: Iterable[dict[str, Tensor]],
    blocks: list[NDArray[np.int64]],
    n: int,
    model: ExpressionModel,
    name: str,
    bar: Any,
) -> dict[str, NDArray[np.float32]]:
    """Collect the blocks' values [N, ...] in the order of the section's spots; the progress bar counts spots."""
    values: dict[str, NDArray[np.float32]] = {}
    for spots, of_block in zip(blocks, made, strict=True):
        for key, value in of_block.items():
            _check_finite(value, key, model, name)
            if key not in values:
                values[key] = np.empty((n, value.shape[1]), dtype=np.float32)
            values[key][spots] = value.cpu().numpy()
        if bar is not None:
            bar.update(len(spots))
        if len(blocks) > 1:
            trim_memory()  # otherwise a slide of 30,000 spots takes 50 % more memory
    return values


def _part(
    parts: SectionParts, hops: int, spots: NDArray[np.int64]
) -> tuple[SectionData, NDArray[np.int64] | None, Tensor]:
    """Return a block with its surroundings as a ``Data`` without patches, the indices of these spots, the block's rows.

    None as indices means all spots of the section.
    """
    if len(spots) == len(parts.data.pos):
        return copy.copy(parts.data), None, torch.arange(len(spots))
    block = torch.from_numpy(spots).to(parts.data.edge_index.device)
    near = parts.around(block, hops)
    return parts.part(near), near.cpu().numpy(), torch.searchsorted(near, block)


def _piece(parts: SectionParts, patches: Patches, hops: int, spots: NDArray[np.int64]) -> tuple[SectionData, Tensor]:
    """Return a block with its surroundings as a ``Data``, and the rows of the block's own spots."""
    piece, around, own = _part(parts, hops, spots)
    piece.x = patches(around)
    return piece, own


def _prefetched(make: Callable[[Item], Made], items: Sequence[Item]) -> Generator[Made, None, None]:
    """Apply ``make`` to each item, one item ahead in a thread, so that reading overlaps with prediction.

    A single item is computed without a thread.
    """
    if len(items) == 1:
        yield make(items[0])
        return
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(make, items[0])
        for item in items[1:]:
            made = coming.result()
            coming = reader.submit(make, item)
            yield made
        yield coming.result()


def _check_finite(values: Tensor, key: str, model: ExpressionModel, name: str) -> None:
    wrong = int((~torch.isfinite(values)).sum())
    if wrong:
        raise ValueError(
            f"{name}: {wrong} of {values.numel()} values of {key!r} from the model {type(model).__name__} are not "
            "finite. The model's weights or statistics are damaged, or its training diverged."
        )
