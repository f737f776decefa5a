"""Parts of a section in the time that a part takes, not the section: PyG's subgraphs look at every edge."""

from __future__ import annotations

import copy
from functools import cached_property

import torch
from torch import Tensor
from torch_geometric.utils import select

from hist2st_pyg.data.section_data import SectionData


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
        """The first edge to each spot, [N + 1]; found when the first part is cut, for a whole section needs none.

        Raises:
            ValueError: If the edges are not sorted by target.
        """
        target = self.data.edge_index[1]
        if bool((target[1:] < target[:-1]).any()):
            raise ValueError("The edges of a section are sorted by target; data.sort(sort_by_row=False) sorts them.")
        n = int(self.data.num_nodes or 0)
        return torch.searchsorted(target.contiguous(), torch.arange(n + 1, device=target.device))

    def around(self, spots: Tensor, hops: int) -> Tensor:
        """The spots at most so many edges before these, and these, ascending.

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
        """The edges to spots, and to which of these each goes."""
        counts = self.first[spots + 1] - self.first[spots]
        target = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        return torch.arange(len(target), device=spots.device) + (self.first[spots] - before)[target], target


def _place(spots: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Where each of some spots is among ascending ones, and whether it is there."""
    place = torch.searchsorted(spots, found).clamp(max=max(len(spots) - 1, 0))
    return place, spots[place] == found
