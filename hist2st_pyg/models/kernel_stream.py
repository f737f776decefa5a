"""The kernel ridge regression that is averaged with Hist2ST's streams."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.parts import SectionParts, section_parts
from hist2st_pyg.data.spot_patches import rows_of
from hist2st_pyg.image.stain import stain_spots
from hist2st_pyg.models.kernel_ridge import KernelRidge
from hist2st_pyg.models.reference import spread_spots
from hist2st_pyg.models.section_moments import features_at, moments

KERNEL_SPOTS = 4096
"""Largest number of stored training spots, evenly spaced; it bounds the size of the model."""


class KernelStream(KernelRidge):
    """A kernel ridge regression on color statistics, fitted to some spots of sections of any size.

    Its settings were chosen on training sections alone (benchmarks/ACCURACY.md).

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S.
    """

    def __init__(self, n_genes: int, patch_size: int, n_scales: int) -> None:
        super().__init__(
            n_genes,
            patch_size=patch_size,
            n_scales=n_scales,
            neighbors=False,
            per_section=True,
            contrast=True,
            whiten=0.5,
            kernel="exponential",
            alpha=0.3,
            rank=32,
        )

    def remember(self, train: Sequence[Data | SectionParts]) -> None:
        """Fit to at most :data:`KERNEL_SPOTS` training spots; patches are read in small blocks.

        Args:
            train: The training sections.
        """
        sections = section_parts(train)
        rows = spread_spots(sections, KERNEL_SPOTS)
        self.fit([self._some(section, of) for section, of in zip(sections, rows, strict=True) if len(of)], [])

    def with_statistics(self, data: Data) -> Data:
        """Add the ``statistics`` [N, 27·S] of the patches to a shallow copy of the ``Data``."""
        if data.get("statistics") is None:
            data = copy.copy(data)
            data.statistics = self.encode(self.vision, data)
        return data

    def _some(self, section: SectionParts, spots: Tensor) -> Data:
        """Return some spots of a section, with the moments of the whole section."""
        known, n = section.data.get("statistics"), len(section.data.pos)

        def statistics(of: NDArray[np.int64]) -> Tensor:
            if known is not None:
                return rows_of(known)(of)
            return features_at(self, partial(self.encode, self.vision), of, section.patches_at).cpu()

        return Data(
            statistics=statistics(spots.cpu().numpy()),
            section_moments=moments(self.own_features(Data(statistics=statistics(stain_spots(n))))),
            y=section.target_at(spots),
            gene_mask=section.data.gene_mask,
            section=section.data.section,
            num_nodes=len(spots),
        )
