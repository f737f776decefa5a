"""Run a model on a section, at once or in blocks of neighboring spots, so that memory does not grow with it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.parts import SectionParts, spatial_blocks
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.source import Patches, kept_open
from hist2st_pyg.inference.domain_shift import Colors, log_notes
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.section_moments import section_moments
from hist2st_pyg.utils.progress import tqdm
from hist2st_pyg.utils.runtime import trim_memory

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Made = TypeVar("Made")
Keep = Callable[[ExpressionModel, dict[str, Tensor]], dict[str, Tensor]]
"""Selects the values to keep from a model and its output on a block, one row per spot."""

BLOCK_SPOTS = 1024
"""Largest number of spots in a block."""

WHOLE_SECTION_SPOTS = 5000
"""Largest number of spots predicted at once by a model that needs the whole section."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a section.

    Args:
        values: The values kept of the model's output, each [N, ...].
        color_distance: See :attr:`~hist2st_pyg.inference.domain_shift.Colors.distance`.
        notes: Warnings for the reader of the prediction.
    """

    values: dict[str, NDArray[np.float32]]
    color_distance: float | None
    notes: list[str]


def with_moments(
    model: ExpressionModel, out: dict[str, Tensor], genes: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """``expression`` [N, G], ``embedding`` [N, C] and the moments of a likelihood.

    These are ``mean``, ``sd`` and ``zero_probability`` [N, G] of the counts at size factor 1; its parameters
    would take as much memory again.

    Args:
        model: The model.
        out: Its output.
        genes: The columns to keep of what is [N, G]; None keeps all.
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
    the whole section. A model with local attention encodes the patches in blocks, and the section's features at once.
    A model that needs the whole section predicts up to :data:`WHOLE_SECTION_SPOTS` spots at once. On larger sections
    self-attention and shared exemplars are limited to the block, with a note; other models of this kind raise an error.

    Args:
        model: The model.
        graph: The section's graph, and the counts if the model reads them.
        patches: The patches of its spots.
        block: Largest number of spots in a block.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        name: The section's name, for the progress bar and errors.
        keep: Selects the values to keep, by default :func:`with_moments`.
        spots: The spots to predict, ascending; None predicts all. The values are of these.
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
    colors, values = Colors(model), dict[str, NDArray[np.float32]]()
    several = len(blocks) > 1
    in_stages = several and model.attends == "local"
    in_parts = several and not in_stages
    with (
        _lent(model, device),  # once, not for every block
        kept_open(patches) as opened,
        closing(
            _ahead(partial(_piece, SectionParts(_section(model, graph, opened, in_parts)), opened, hops), blocks)
        ) as pieces,
        tqdm(
            total=sum(map(len, blocks)), desc=f"spots of {name}", leave=False, disable=None if several else True
        ) as bar,
    ):
        for of_block, (piece, own) in zip(blocks, pieces, strict=True):
            colors.add(piece.x[own])
            made = _features(model, piece, device) if in_stages else keep(model, run_model(model, piece, device))
            for key, value in made.items():
                _check_finite(value[own], key, model, name)
                if key not in values:
                    values[key] = np.empty((n, value.shape[1]), dtype=np.float32)
                values[key][of_block] = value[own].cpu().numpy()
            bar.update(len(of_block))
            if several:
                trim_memory()  # without it a slide of 30,000 spots took 50 % more memory
        if in_stages:
            made = keep(model, run_model(model, graph, device, [torch.from_numpy(each) for each in values.values()]))
            for key, value in made.items():
                _check_finite(value, key, model, name)
            values = {key: value.cpu().numpy() for key, value in made.items()}
    if warn:
        log_notes(colors.notes, name)
    if spots is not None:
        values = {key: value[spots] for key, value in values.items()}
    return Prediction(values, colors.distance, [*notes, *colors.notes])


def run_model(
    model: ExpressionModel, data: SectionData, device: str = "auto", features: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """Run the model in eval mode and return its output on the CPU; the model and the data stay on their devices.

    Args:
        model: The model.
        data: The section.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        features: What its vision stages made of the patches, for a model that takes them; ``data`` needs no ``x`` then.

    Raises:
        ValueError: If the device does not exist.
    """
    device = find_device(device)
    # PyG's Data.to changes the data in place; a copy shares the tensors that need not move.
    moved = copy.copy(data).to(device)
    with _lent(model, device), torch.inference_mode():
        out = model(moved) if features is None else model(moved, [each.to(device) for each in features])
    return {key: value.float().cpu() for key, value in out.items()}


def _features(model: ExpressionModel, piece: SectionData, device: str) -> dict[str, Tensor]:
    """What each vision stage makes of the patches of a block."""
    with torch.inference_mode():
        made = model.features(copy.copy(piece).to(device))
    return {f"features of stream {stream}": value.float() for stream, value in enumerate(made)}


def _section(model: ExpressionModel, graph: SectionData, patches: Patches, in_parts: bool) -> SectionData:
    """The graph; for parts with what the model standardizes the section by, so that each is as in the whole section."""
    if in_parts and (moments := section_moments(model, len(graph.pos), patches)) is not None:
        graph = copy.copy(graph)
        graph.section_moments = moments.cpu()
    return graph


@contextmanager
def _lent(model: ExpressionModel, device: str) -> Iterator[None]:
    """The model in eval mode on a device; afterwards it is as and where it was."""
    was_training, home = model.training, model.target_mean.device
    model.to(device).eval()
    try:
        yield
    finally:
        model.to(home).train(was_training)


def _plan(
    model: ExpressionModel, pos: NDArray[np.floating], block: int, name: str
) -> tuple[list[NDArray[np.int64]], int, list[str]]:
    """The blocks, the number of hops of context around each, and notes."""
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
                f"of at most {max(WHOLE_SECTION_SPOTS, block)} spots. Set block={n} if memory allows, or predict parts "
                "of the section."
            )
        notes.append(
            f"The section has {n} spots, too many for each to read all others: it reads its block of at most {block} "
            "spots and their surroundings, so predictions may change at the borders of blocks."
        )
    return spatial_blocks(pos, block), hops, notes


def find_device(device: str) -> str:
    """Resolve ``"auto"`` to the available device; return other devices unchanged.

    Raises:
        ValueError: If the device does not exist.
    """
    found = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if found else "cpu"
    try:
        place = torch.device(device)
        if place.type == "cuda":  # counted, because a tensor would open CUDA's driver in this process
            known = found and (place.index or 0) < torch.cuda.device_count()
        else:
            known = torch.zeros(1, device=place).item() == 0
    except (RuntimeError, AssertionError, ImportError) as error:  # what torch makes of a device that is not there
        logger.debug("%s: %s", device, error)
        known = False
    if not known:
        cuda = "".join(f", 'cuda:{index}'" for index in range(torch.cuda.device_count() if found else 0))
        reason = "no CUDA device was found" if device.startswith("cuda") and not found else "there is no such device"
        raise ValueError(f"device={device!r}: {reason}; choose 'auto'{cuda} or 'cpu'.")
    return device


def _piece(parts: SectionParts, patches: Patches, hops: int, spots: NDArray[np.int64]) -> tuple[SectionData, Tensor]:
    """A block and its surrounding spots as a ``Data``, and the rows of the block's own spots."""
    if len(spots) == len(parts.data.pos):
        piece, around, own = copy.copy(parts.data), None, torch.arange(len(spots))
    else:
        block = torch.from_numpy(spots).to(parts.data.edge_index.device)
        near = parts.around(block, hops)
        piece, around, own = parts.part(near), near.cpu().numpy(), torch.searchsorted(near, block)
    piece.x = patches(around)
    return piece, own


def _ahead(make: Callable[[Item], Made], items: Sequence[Item]) -> Generator[Made, None, None]:
    """Apply ``make`` to each item, one item ahead in a thread, so that reading overlaps with prediction.

    A single item needs no thread.
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
            "finite. Its weights or statistics are damaged, or its training diverged."
        )
