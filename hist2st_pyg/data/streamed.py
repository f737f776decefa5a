"""Large measured sections: patches and targets are computed on demand, counts stay sparse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data
from typing_extensions import override

from hist2st_pyg.data.expression import expression, sparse_panel_counts, target_totals
from hist2st_pyg.data.masks import training_spots, validation_spots
from hist2st_pyg.data.parts import SectionParts, spatial_blocks
from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.data.section_data import SectionData
from hist2st_pyg.data.spot_patches import Patches, decoded_once
from hist2st_pyg.losses import training_target
from hist2st_pyg.section import Section

STREAMED_SPOTS = 20_000
"""Sections of more spots are streamed if training uses windows: whole, they take gigabytes."""
SPOTS_AT_ONCE = 1024
"""Number of spots whose patches or targets are computed at a time, if all are needed."""


class StreamedSection(SectionParts):
    """A section of which only the graph, the sparse counts and single numbers per spot are in memory.

    Args:
        graph: The graph, with size factors, gene mask and names, as ``Preprocessing.describe`` gives them.
        counts: The panel's counts, scipy's ``csr_matrix`` [N, G].
        totals: The divisor of each spot's counts [N, 1].
        patches: The patches of its spots.

    Attributes:
        denoised: Computes ``y_denoised`` [n, G] of some spots' ``Data``; None if targets are not denoised.
    """

    def __init__(self, graph: SectionData, counts: Any, totals: NDArray[np.float32], patches: Patches) -> None:
        super().__init__(graph)
        self.counts, self.totals, self.patches = counts, totals, patches
        self.denoised: Callable[[Data], Tensor] | None = None

    @override
    def part(self, spots: Tensor) -> SectionData:
        part = super().part(spots)
        part.x = self.patches(spots.cpu().numpy())
        measured = self.measured_at(spots)
        part.counts, part.y = measured.counts, measured.y
        if self.denoised is not None:
            part.y_denoised = self.denoised(part)
        return part

    @override
    def whole(self) -> SectionData:
        return self.part(torch.arange(len(self.data.pos)))

    @override
    def measured_at(self, spots: Tensor) -> SectionData:
        rows = spots.cpu().numpy()
        counts = self.counts[rows].toarray()
        y = expression(counts, self.totals[rows])
        return SectionData(counts=torch.from_numpy(counts), y=torch.from_numpy(y), gene_mask=self.data.gene_mask)

    @override
    def target_at(self, spots: Tensor) -> Tensor:
        measured = self.measured_at(spots)
        measured.train_mask = training_spots(self.data)[spots]
        return training_target(measured) if self.denoised is None else self.denoised(measured)

    @override
    def patches_at(self, spots: NDArray[np.int64] | None = None) -> Tensor:
        return self.patches(spots)

    @override
    def measured(self) -> Iterator[SectionData]:
        trains, validates = training_spots(self.data), validation_spots(self.data)
        for spots in torch.split(torch.arange(len(self.data.pos)), SPOTS_AT_ONCE):
            piece = self.measured_at(spots)
            piece.train_mask, piece.val_mask = trains[spots], validates[spots]
            yield piece

    @override
    def patch_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for spots in spatial_blocks(self.data.pos.cpu().numpy(), SPOTS_AT_ONCE):
            yield torch.from_numpy(spots), self.patches(spots)


def streamed_section(
    preprocessing: Preprocessing, section: Section, cache: str | Path | None = None
) -> StreamedSection:
    """A measured section to be streamed; its parts are those of :func:`~hist2st_pyg.to_data`.

    Args:
        preprocessing: How a section becomes a ``Data``.
        section: The section.
        cache: Folder of the patch cache; None cuts patches again each time they are used.

    Raises:
        ValueError: If the section has no image, or none of the panel's counts.
    """
    patches = decoded_once(preprocessing.section_patches(section, cache))
    counts, gene_mask = sparse_panel_counts(section, preprocessing.genes)
    graph = preprocessing.build_graph(section.pos, section.grid)
    preprocessing.describe(graph, section, np.asarray(counts.sum(1)).ravel(), gene_mask)
    return StreamedSection(graph, counts, target_totals(section, counts, preprocessing.normalize_by), patches)
