"""Cut parts out of a section in time proportional to the part; PyG's subgraphs visit every edge of the section."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import select

from hist2st_pyg.data.section_data import SectionData
from hist2st_pyg.data.spot_patches import rows_of
from hist2st_pyg.losses import training_target


class SectionParts:
    """Cuts parts out of a section.

    Args:
        data: The section; its edges are sorted by target, as :func:`~hist2st_pyg.data.section_data.section_graph` gives
            them.
    """

    def __init__(self, data: SectionData) -> None:
        self.data = data

    @cached_property
    def first(self) -> Tensor:
        """The first edge to each spot, [N + 1]; computed when the first part is cut.

        Raises:
            ValueError: If the edges are not sorted by target.
        """
        target = self.data.edge_index[1]
        if bool((target[1:] < target[:-1]).any()):
            raise ValueError("The edges of a section must be sorted by target; call data.sort(sort_by_row=False).")
        n = int(self.data.num_nodes or 0)
        return torch.searchsorted(target.contiguous(), torch.arange(n + 1, device=target.device))

    def whole(self) -> SectionData:
        """All of the section."""
        return self.data

    def measured_at(self, spots: Tensor) -> SectionData:
        """The measurements of some spots: ``counts`` and ``y`` [n, G], with the section's ``gene_mask``.

        Args:
            spots: Indices, or bool [N].
        """
        return SectionData(counts=self.data.counts[spots], y=self.data.y[spots], gene_mask=self.data.gene_mask)

    def target_at(self, spots: Tensor) -> Tensor:
        """The training target of some spots, [n, G].

        Args:
            spots: Spots.
        """
        return training_target(self.data)[spots]

    def patches_at(self, spots: NDArray[np.int64] | None = None) -> Tensor:
        """The patches (or embeddings) of some spots (None: of all)."""
        return rows_of(self.data.x)(spots)

    def measured(self) -> Iterator[SectionData]:
        """The measurements of all spots, piece by piece, with the pieces' masks."""
        yield self.data

    def patch_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All spots with their patches (or embeddings), block by block."""
        yield torch.arange(len(self.data.pos)), self.data.x

    def around(self, spots: Tensor, hops: int) -> Tensor:
        """These spots and those that reach them over at most ``hops`` edges, ascending.

        Args:
            spots: Spots, ascending.
            hops: Number of edges.
        """
        reached = new = spots
        for _ in range(hops):
            sources = self.data.edge_index[0, self._edges(new)[0]].unique()
            new = sources[_place(reached, sources)[1].logical_not()]
            if not len(new):
                break
            reached = torch.cat([reached, new]).sort().values
        return reached

    def part(self, spots: Tensor) -> SectionData:
        """The ``Data`` of some spots and the edges among them, as ``data.subgraph`` gives it.

        Args:
            spots: Spots, ascending.
        """
        edges, target = self._edges(spots)
        source, inside = _place(spots, self.data.edge_index[0, edges])
        edges = edges[inside]
        part = copy.copy(self.data)
        for key, value in self.data:
            if key == "edge_index":
                part.edge_index = torch.stack([source[inside], target[inside]])
            elif key == "num_nodes":
                part.num_nodes = len(spots)
            elif self.data.is_edge_attr(key):
                part[key] = select(value, edges, dim=0)
            elif self.data.is_node_attr(key):
                part[key] = select(value, spots, dim=0)
        return part

    def _edges(self, spots: Tensor) -> tuple[Tensor, Tensor]:
        """The edges to spots, and the index of each edge's target among the spots."""
        counts = self.first[spots + 1] - self.first[spots]
        target = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        return torch.arange(len(target), device=spots.device) + (self.first[spots] - before)[target], target


def section_parts(sections: Sequence[Data | SectionParts]) -> list[SectionParts]:
    """Wrap the sections that are given as ``Data``; others are returned unchanged."""
    return [section if isinstance(section, SectionParts) else SectionParts(section) for section in sections]


def spatial_blocks(pos: NDArray[np.floating], size: int) -> list[NDArray[np.int64]]:
    """Divide spots into blocks of neighbors: the leaves of a k-d tree, split at the median.

    Args:
        pos: Spot positions [N, 2].
        size: Largest number of spots in a block.

    Returns:
        The spots of each block, ascending; consecutive blocks are neighbors.
    """

    def leaves(node: object) -> Iterator[NDArray[np.int64]]:
        if node.split_dim == -1:  # type: ignore[attr-defined]
            yield np.sort(node.indices).astype(np.int64)  # type: ignore[attr-defined]
        else:
            yield from leaves(node.lesser)  # type: ignore[attr-defined]
            yield from leaves(node.greater)  # type: ignore[attr-defined]

    return list(leaves(cKDTree(pos, leafsize=size).tree))


def _place(spots: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The index of each found spot among ascending ``spots``, and whether it occurs there."""
    place = torch.searchsorted(spots, found).clamp(max=max(len(spots) - 1, 0))
    return place, spots[place] == found
