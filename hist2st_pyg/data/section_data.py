"""A section as PyG's ``Data``, and the graph of its spots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from hist2st_pyg.data.graph import GRAPHS, PRUNINGS
from hist2st_pyg.utils.array_places import spot_pitch
from hist2st_pyg.utils.resolver import resolve


class SectionData(Data):  # type: ignore[misc]
    """PyG's ``Data``, whose ``gene_mask`` [G] is stacked to [B, G] in a batch, as it belongs to the section."""

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """``None`` makes PyG add a batch dimension."""
        return None if key == "gene_mask" else super().__cat_dim__(key, value, *args, **kwargs)

    def is_node_attr(self, key: str) -> bool:
        """``gene_mask`` belongs to the section, also if there are as many genes as spots."""
        return key != "gene_mask" and super().is_node_attr(key)

    def is_edge_attr(self, key: str) -> bool:
        """As :meth:`is_node_attr`."""
        return key != "gene_mask" and super().is_edge_attr(key)


def section_graph(
    pos: NDArray[np.float64],
    grid: NDArray[np.int64],
    graph: str = "knn",
    graph_kwargs: Mapping[str, Any] | None = None,
    max_distance: float | None = None,
    *,
    prune: str = "none",
    coord_type: Literal["pixel", "array"] = "pixel",
    arrays: Sequence[NDArray[np.int64]] | None = None,
) -> SectionData:
    """Build the graph of a section's spots, without patches.

    Args:
        pos: Spot centers [N, 2] (x, y) in pixels.
        grid: Array column and row [N, 2].
        graph: A key of :data:`~hist2st_pyg.data.graph.GRAPHS`; ``"grid"`` always takes array positions.
        graph_kwargs: Its arguments.
        max_distance: Drop neighbors farther than this many spot pitches.
        prune: A key of :data:`~hist2st_pyg.data.graph.PRUNINGS`.
        coord_type: Neighbors by ``"pixel"`` or by ``"array"`` position.
        arrays: The spots of each array, if there are several; neighbors are of one array.

    Returns:
        ``Data`` with ``edge_index`` [2, E], ``edge_attr`` [E, 1] distance in pitches, ``pos`` and ``grid`` [N, 2].
    """
    build, drop = resolve(GRAPHS, graph, "graph"), resolve(PRUNINGS, prune, "prune")
    parts = []
    for spots in [np.arange(len(pos))] if arrays is None else arrays:
        on_array = coord_type == "array" or graph == "grid"
        places = grid[spots].astype(np.float64) if on_array else pos[spots] / spot_pitch(pos[spots])
        edges, apart = build(places, **(graph_kwargs or {}))
        if max_distance is not None:
            near = apart <= max_distance
            edges, apart = edges[:, near], apart[near]
        edges, apart = drop(edges, apart)
        parts.append((spots[edges], apart))
    edge_index, distance = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    order = np.argsort(edge_index[1], kind="stable")
    return SectionData(
        edge_index=torch.from_numpy(np.ascontiguousarray(edge_index[:, order])),
        edge_attr=torch.from_numpy(distance[order]).float()[:, None],
        pos=torch.from_numpy(np.ascontiguousarray(pos)).float(),
        grid=torch.from_numpy(grid),
    )
