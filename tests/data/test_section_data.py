"""A section's graph, and a section in a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.graphs import edges
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from hist2st_pyg import Section, knn_edges, to_data
from hist2st_pyg.data import GRAPHS, SectionData, spot_pitch
from hist2st_pyg.data import PRUNINGS as PRUNED
from hist2st_pyg.data.section_data import section_graph

P, G = 14, 5


def test_the_graph_is_on_the_image_in_spot_pitches(sections: list[Section], genes: list[str]) -> None:
    section = sections[0]
    data = to_data(section, genes, patch_size=P, k=3)
    edge_index, distance = knn_edges(section.pos, 3)
    np.testing.assert_array_equal(data.edge_index, edge_index)
    np.testing.assert_allclose(data.edge_attr[:, 0], distance / spot_pitch(section.pos), rtol=1e-6)
    assert 0.8 < float(data.edge_attr.median()) < 1.2
    near = to_data(section, genes, patch_size=P, k=3, max_distance=1.2)
    assert near.edge_index.shape[1] == int((data.edge_attr <= 1.2).sum()) < data.edge_index.shape[1]


def test_the_graph_may_be_on_the_array(sections: list[Section], genes: list[str]) -> None:
    data = to_data(sections[0], genes, patch_size=P, k=4, coord_type="array", max_distance=2.0)
    edge_index, distance = knn_edges(sections[0].grid, 4, 2.0)
    np.testing.assert_array_equal(data.edge_index, edge_index)
    np.testing.assert_allclose(data.edge_attr[:, 0], distance, rtol=1e-6)


def test_one_spot(sections: list[Section], genes: list[str]) -> None:
    data = to_data(replace(sections[0], adata=sections[0].adata[:1].copy()), genes, patch_size=P)
    assert data.x.shape[0] == 1
    assert (list(data.edge_index.shape), list(data.edge_attr.shape)) == ([2, 0], [0, 1])
    assert data.validate(raise_on_error=True)


def test_nothing_but_the_edges_is_shifted_in_a_batch(sections: list[Section], genes: list[str]) -> None:
    alone = [to_data(s, genes if i else [*genes[:-1], "unmeasured"], patch_size=P) for i, s in enumerate(sections)]
    (batch,) = DataLoader(alone, batch_size=3)
    assert batch.num_graphs == 3
    assert batch.ptr.tolist() == [0, 12, 19, 28]
    for name in ("x", "pos", "grid", "edge_attr", "counts", "y", "size_factor"):
        assert torch.equal(batch[name], torch.cat([data[name] for data in alone])), name
    assert list(batch.gene_mask.shape) == [3, G]
    assert batch.gene_mask.tolist() == [[True] * (G - 1) + [False], [True] * G, [True] * G]
    shifted = [data.edge_index + start for data, start in zip(alone, (0, 12, 19), strict=True)]
    assert torch.equal(batch.edge_index, torch.cat(shifted, dim=1))
    assert batch.section == ["A1", "A2", "B1"]
    assert batch.patient == ["A", "A", "B"]
    assert batch.label == [data.label for data in alone]
    assert batch.validate(raise_on_error=True)


def test_sections_come_out_of_a_batch_as_they_went_in(sections: list[Section], genes: list[str]) -> None:
    alone = [to_data(s, genes, patch_size=P) for s in sections]
    for before, after in zip(alone, Batch.from_data_list(alone).to_data_list(), strict=True):
        assert isinstance(after, SectionData)
        assert set(before.keys()) == set(after.keys())
        for name in before.keys():  # noqa: SIM118 - a Data is not a dict
            same = torch.equal if isinstance(before[name], torch.Tensor) else lambda a, b: a == b
            assert same(before[name], after[name]), name


def test_masks_of_spots_follow_the_spots(sections: list[Section], genes: list[str]) -> None:
    alone = [to_data(s, genes, patch_size=P) for s in sections]
    for data in alone:
        data.train_mask = torch.arange(data.num_nodes) % 2 == 0
    batch = Batch.from_data_list(alone)
    assert torch.equal(batch.train_mask, torch.cat([data.train_mask for data in alone]))


ARGUMENTS: dict[str, dict[str, Any]] = {"radius": {"radius": 1.5}}
"""Arguments without which a graph is not built."""


@pytest.mark.parametrize("prune", sorted(PRUNED))
@pytest.mark.parametrize("graph", sorted(GRAPHS))
def test_a_section_has_every_graph(graph: str, prune: str, cohort: list[Section]) -> None:
    """In spot pitches, or array steps; neighbors that are too far or pruned are gone, and the rest is as built."""
    section, kwargs = cohort[0], ARGUMENTS.get(graph, {})
    data = section_graph(section.pos, section.grid, graph, kwargs, 1.2, prune=prune)
    places = section.grid.astype(float) if graph == "grid" else section.pos / spot_pitch(section.pos)
    edge_index, distance = GRAPHS[graph](places, **kwargs)
    near = distance <= 1.2
    edge_index, distance = PRUNED[prune](edge_index[:, near], distance[near])
    assert data.validate()
    assert edges(data.edge_index) == edges(edge_index)
    assert data.num_edges > 0
    assert float(data.edge_attr.max()) <= 1.2
    np.testing.assert_allclose(np.sort(data.edge_attr[:, 0]), np.sort(distance), rtol=1e-6)


def test_spots_of_two_arrays_are_no_neighbors(sections: list[Section]) -> None:
    """Each array has the graph that it has alone."""
    pos, grid = sections[0].pos, sections[0].grid
    arrays = [np.array([0, 2, 4, 6, 8, 10, 11]), np.array([1, 3, 5, 7, 9])]
    data = section_graph(pos, grid, "knn", {"k": 2}, arrays=arrays)
    expected = set()
    for spots in arrays:
        alone = section_graph(pos[spots], grid[spots], "knn", {"k": 2})
        expected |= {(int(spots[j]), int(spots[i])) for j, i in alone.edge_index.T}
    assert edges(data.edge_index) == expected
    assert (data.edge_index[1].diff() >= 0).all()  # sorted by target
