"""A section as PyG's ``Data``, and the graph of its spots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from hist2st_pyg.data.graph import knn_edges
from hist2st_pyg.io.array_places import spot_pitch


class SectionData(Data):  # type: ignore[misc]
    """PyG's ``Data``, whose ``gene_mask`` [G] is stacked to [B, G] in a batch, as it belongs to the section."""

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """``None`` is PyG's word for a new batch dimension."""
        return None if key == "gene_mask" else super().__cat_dim__(key, value, *args, **kwargs)

    def is_node_attr(self, key: str) -> bool:
        """``gene_mask`` is the section's, also where there are as many genes as spots."""
        return key != "gene_mask" and super().is_node_attr(key)

    def is_edge_attr(self, key: str) -> bool:
        """As :meth:`is_node_attr`."""
        return key != "gene_mask" and super().is_edge_attr(key)


def section_graph(
    pos: NDArray[np.float64],
    grid: NDArray[np.int64],
    k: int,
    max_distance: float | None = None,
    coord_type: Literal["pixel", "array"] = "pixel",
    arrays: Sequence[NDArray[np.int64]] | None = None,
) -> SectionData:
    """The graph of a section's spots, without what the spots show.

    Args:
        pos: Spot centers [N, 2] (x, y) in pixels.
        grid: Array column and row [N, 2].
        k: Neighbors of each spot.
        max_distance: Neighbors farther than this many spot pitches are dropped.
        coord_type: Neighbors by ``"pixel"`` or by ``"array"`` position.
        arrays: Where the spots are several arrays in one, the spots of each; neighbors are of one array.

    Returns:
        ``Data`` with ``edge_index`` [2, E], ``edge_attr`` [E, 1] distance in pitches, ``pos`` and ``grid`` [N, 2].
    """
    parts = []
    for spots in [np.arange(len(pos))] if arrays is None else arrays:
        places = grid[spots].astype(np.float64) if coord_type == "array" else pos[spots] / spot_pitch(pos[spots])
        edges, apart = knn_edges(places, k, max_distance)
        parts.append((spots[edges], apart))
    edge_index, distance = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    order = np.argsort(edge_index[1], kind="stable")
    return SectionData(
        edge_index=torch.from_numpy(np.ascontiguousarray(edge_index[:, order])),
        edge_attr=torch.from_numpy(distance[order]).float()[:, None],
        pos=torch.from_numpy(np.ascontiguousarray(pos)).float(),
        grid=torch.from_numpy(grid),
    )
