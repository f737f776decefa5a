"""Running a model on a section, at once or in blocks of neighboring spots, so that memory does not grow with it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch_geometric.utils import k_hop_subgraph
from tqdm.auto import tqdm

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.source import Patches, kept_open
from hist2st_pyg.inference.domain_shift import Colors
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.utils.runtime import trim_memory

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Made = TypeVar("Made")
Keep = Callable[[ExpressionModel, dict[str, Tensor]], dict[str, Tensor]]
"""What is kept of a model and its output on a block, each with a row for each spot."""

BLOCK = 1024
"""Most spots of a block."""

WHOLE = 5000
"""Most spots of a section that is predicted at once where a model needs all of it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of a section.

    Args:
        values: What was kept of the model's output, each [N, ...].
        color_distance: See :attr:`~hist2st_pyg.inference.domain_shift.Colors.distance`.
        notes: What the reader of the prediction has to know.
    """

    values: dict[str, NDArray[np.float32]]
    color_distance: float | None
    notes: list[str]


def with_moments(model: ExpressionModel, out: dict[str, Tensor]) -> dict[str, Tensor]:
    """``expression`` [N, G], ``embedding`` [N, C] and the moments of a likelihood.

    These are ``mean``, ``sd`` and ``zero_probability`` [N, G] of the counts at size factor 1; its parameters
    would take as much memory again.
    """
    kept = {"expression": out["expression"], "embedding": out["embedding"]}
    likelihood = getattr(model, "likelihood", None)
    if likelihood is not None:
        mean, variance = likelihood.moments(out)
        kept |= {"mean": mean, "sd": variance.sqrt(), "zero_probability": likelihood.zero_probability(out)}
    return kept


def predict_blocks(
    model: ExpressionModel,
    graph: SectionData,
    patches: Patches,
    *,
    block: int = BLOCK,
    device: str = "auto",
    name: str = "section",
    keep: Keep = with_moments,
) -> Prediction:
    """Predict a section; only one block's patches are held at a time.

    A block is predicted with the spots around it that the model's ``receptive_field`` reach, so that the result is that
    of the whole section. Where a model needs the whole section, up to :data:`WHOLE` spots are predicted at once; on
    larger ones self-attention is kept to the block, which a note says, and a model that cannot do without is refused.

    Args:
        model: The model.
        graph: The section's graph, and the counts where the model reads them.
        patches: What its spots show.
        block: Most spots of a block.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        name: The section's name, for the progress bar and errors.
        keep: What is kept of the model and its output, by default :func:`with_moments`.

    Raises:
        ValueError: If the block is empty, the section is too large for the model, or a value is not finite.
    """
    device = find_device(device)
    n = len(graph.pos)
    blocks, hops, notes = _plan(model, graph.pos.cpu().numpy(), block, name)
    _log(notes, name)
    colors, values = Colors(model), dict[str, NDArray[np.float32]]()
    several = len(blocks) > 1
    with (
        kept_open(patches) as opened,
        closing(_ahead(partial(_piece, graph, opened, hops), blocks)) as pieces,
        tqdm(total=n, desc=f"spots of {name}", leave=False, disable=None if several else True) as bar,
    ):
        for spots, (piece, own) in zip(blocks, pieces, strict=True):
            colors.add(piece.x[own])
            for key, value in keep(model, run_model(model, piece, device)).items():
                _check_finite(value[own], key, model, name)
                if key not in values:
                    values[key] = np.empty((n, value.shape[1]), dtype=np.float32)
                values[key][spots] = value[own].cpu().numpy()
            bar.update(len(spots))
            if several:
                trim_memory()  # without it a slide of 30,000 spots took half as much memory again
    _log(colors.notes, name)
    return Prediction(values, colors.distance, [*notes, *colors.notes])


def spatial_blocks(pos: NDArray[np.floating], size: int) -> list[NDArray[np.int64]]:
    """Part spots into blocks of neighbors: the leaves of a k-d tree, which halves at the median.

    Args:
        pos: Spot positions [N, 2].
        size: Most spots of a block.

    Returns:
        The spots of each block, ascending; blocks that follow each other lie side by side.
    """

    def leaves(node: object) -> Iterator[NDArray[np.int64]]:
        if node.split_dim == -1:  # type: ignore[attr-defined]
            yield np.sort(node.indices).astype(np.int64)  # type: ignore[attr-defined]
        else:
            yield from leaves(node.lesser)  # type: ignore[attr-defined]
            yield from leaves(node.greater)  # type: ignore[attr-defined]

    return list(leaves(cKDTree(pos, leafsize=size).tree))


def run_model(model: ExpressionModel, data: SectionData, device: str = "auto") -> dict[str, Tensor]:
    """The model's output in eval mode, on the CPU; the model and the data stay on the device where they are.

    Raises:
        ValueError: If there is no such device.
    """
    device = find_device(device)
    was_training, home = model.training, model.target_mean.device
    # PyG's Data.to changes the data itself: a copy shares the tensors that need not move.
    moved = copy.copy(data).to(device)
    try:
        with torch.inference_mode():
            out = model.to(device).eval()(moved)
    finally:
        model.to(home).train(was_training)
    return {key: value.float().cpu() for key, value in out.items()}


def _plan(
    model: ExpressionModel, pos: NDArray[np.floating], block: int, name: str
) -> tuple[list[NDArray[np.int64]], int, list[str]]:
    """The blocks, how many edges of the graph around each are read too, and notes."""
    if block < 1:
        raise ValueError(f"block is the most spots that are predicted at a time, at least 1, got {block!r}.")
    n, hops = len(pos), model.receptive_field
    if n <= block or (hops is None and n <= WHOLE):
        return [np.arange(n)], 0, []
    notes = []
    if hops is None:
        hops = model.num_hops
        if hops is None:
            raise ValueError(
                f"Section {name!r} has {n} spots, and the model {type(model).__name__} reads all of a section at once, "
                f"which is done up to {max(WHOLE, block)} spots. Give block={n} where the memory allows it, or predict "
                "parts of the section."
            )
        notes.append(
            f"The section has {n} spots, too many to attend to each other: each attends to the spots of its block, "
            f"{block} at most, and those around it, so that predictions change where blocks meet."
        )
    return spatial_blocks(pos, block), hops, notes


def find_device(device: str) -> str:
    """``"auto"`` as the device that there is; another as it is.

    Raises:
        ValueError: If there is no such device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: no CUDA device is found; take 'auto' or 'cpu'.")
    return device


def _piece(graph: SectionData, patches: Patches, hops: int, spots: NDArray[np.int64]) -> tuple[SectionData, Tensor]:
    """A block and the spots around it as a ``Data``, and where in it the block's own spots are."""
    if len(spots) == len(graph.pos):
        piece, around, own = copy.copy(graph), None, torch.arange(len(spots))
    else:
        near, _, own, _ = k_hop_subgraph(torch.from_numpy(spots), hops, graph.edge_index, num_nodes=len(graph.pos))
        piece, around = graph.subgraph(near), near.cpu().numpy()
    piece.x = patches(around)
    return piece, own


def _ahead(make: Callable[[Item], Made], items: Sequence[Item]) -> Generator[Made, None, None]:
    """What is made of each item; the next is made while the last is used, so that reading does not wait for the model.

    One item alone is made here and now.
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
            f"{name}: the model {type(model).__name__} gives {wrong} of {values.numel()} values of {key!r} that are "
            "not finite, so nothing is predicted. Its weights or statistics are damaged, or its training diverged."
        )


def _log(notes: list[str], name: str) -> None:
    for note in notes:
        logger.warning("%s: %s", name, note)
