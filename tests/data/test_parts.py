"""Parts of a section, against PyG's subgraphs."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg import Section, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.data.parts import SectionParts


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    made = to_data(cohort[0], list(cohort[0].adata.var_names)[:6], patch_size=14, k=5, max_distance=1.3)
    made.train_mask = torch.arange(48) % 3 > 0
    return made


def directed(n: int = 60, edges: int = 90) -> SectionData:
    """A graph in which many spots have no edge to them, and some edges go one way."""
    torch.manual_seed(0)
    ends = torch.randint(0, n, (2, edges))
    ends = ends[:, ends[1].argsort(stable=True)]
    return SectionData(edge_index=ends, edge_attr=torch.rand(edges, 1), pos=torch.rand(n, 2))


@pytest.mark.parametrize("n", [1, 2, 6, 30, 48])
def test_a_part_is_the_subgraph(data: SectionData, n: int) -> None:
    spots = torch.randperm(48, generator=torch.Generator().manual_seed(n))[:n].sort().values
    part, expected = SectionParts(data).part(spots), data.subgraph(spots)
    assert part.keys() == expected.keys()
    for key, value in expected:
        if isinstance(value, torch.Tensor):
            assert torch.equal(part[key], value), key
        else:
            assert part[key] == value, key
    assert part.num_nodes == n
    assert len(data.pos) == 48
    assert torch.equal(SectionParts(part).part(torch.arange(n)).edge_index, part.edge_index)


@pytest.mark.parametrize("hops", [0, 1, 2, 5])
@pytest.mark.parametrize("spots", [[0], [3, 4, 40], list(range(48))])
def test_what_is_around_is_the_k_hop_subgraph(data: SectionData, hops: int, spots: list[int]) -> None:
    for graph in (data, directed()):
        expected = k_hop_subgraph(spots, hops, graph.edge_index, num_nodes=graph.num_nodes)[0]
        assert torch.equal(SectionParts(graph).around(torch.tensor(spots), hops), expected)


def test_a_graph_of_directed_edges_is_parted(cohort: list[Section]) -> None:
    graph, spots = directed(), torch.arange(0, 60, 2)
    part, expected = SectionParts(graph).part(spots), graph.subgraph(spots)
    assert torch.equal(part.edge_index, expected.edge_index)
    assert torch.equal(part.edge_attr, expected.edge_attr)


def test_edges_in_another_order_are_refused() -> None:
    graph = directed()
    graph.edge_index = graph.edge_index.flip(1)
    with pytest.raises(ValueError, match=r"The edges of a section must be sorted by target; call data\.sort"):
        SectionParts(graph).part(torch.arange(3))
