"""What an explanation reads of a section."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg import HisToGene, Section
from hist2st_pyg.data import SectionData
from hist2st_pyg.data.spot_patches import rows_of
from hist2st_pyg.explain import (
    explain_spot,
)
from tests._helpers.explained import GENES, P, build, preprocessing, ready, views


def test_only_what_is_needed_is_read(cohort: list[Section], data: SectionData) -> None:
    model, asked = build(), []
    graph = preprocessing().build_graph(cohort[0].pos, cohort[0].grid)

    def patches(spots: NDArray[np.int64] | None) -> Tensor:
        asked.append(spots)
        return rows_of(data.x)(spots)

    expected = explain_spot(model, data, 20, "GENE3")
    found = explain_spot(model, graph, 20, "GENE3", patches=patches, name="mine")
    np.testing.assert_array_equal(found.importance, expected.importance)
    np.testing.assert_array_equal(found.pixels[0].attribution, expected.pixels[0].attribution)
    assert asked == [None]  # a small section's sample is all of it
    assert (found.name, expected.name) == ("mine", "20")
    assert found.measured is None
    assert expected.measured == pytest.approx(float(data.y[20, 2]))
    missing = copy.copy(data)
    missing.gene_mask = torch.tensor([True, True, False, True])
    assert explain_spot(model, missing, 20, "GENE3", pixels=0).measured is None


def test_a_large_section_is_read_around_the_spot(monkeypatch: pytest.MonkeyPatch, data: SectionData) -> None:
    monkeypatch.setattr("hist2st_pyg.explain.receptive_field.REFERENCE_SPOTS", 6)
    model, asked = build(color_stream=True), []

    def patches(spots: NDArray[np.int64] | None) -> Tensor:
        asked.extend([] if spots is None else spots.tolist())
        return rows_of(data.x)(spots)

    found = explain_spot(model, data, 20, "GENE3", patches=patches)
    reach = set(k_hop_subgraph(20, 2, data.edge_index)[0].tolist())
    assert set(found.neighbors.tolist()) == reach
    assert reach < set(asked)
    assert len(asked) <= len(reach) + 6 < len(data.pos)
    with torch.no_grad():
        assert found.predicted == pytest.approx(float(model(data)["expression"][20, 2]), abs=1e-5)
    difference = found.predicted - found.pixels[0].reference
    assert found.pixels[0].attribution.sum() == pytest.approx(difference, abs=0.05 * abs(difference) + 1e-3)


@pytest.mark.parametrize("color_stream", [False, True])
def test_a_kernel_stream_is_explained_as_it_predicts(
    color_stream: bool, monkeypatch: pytest.MonkeyPatch, data: SectionData
) -> None:
    monkeypatch.setattr("hist2st_pyg.explain.receptive_field.REFERENCE_SPOTS", 6)
    model = build(kernel_stream=True, color_stream=color_stream)
    model.remember([copy.copy(data)])
    found = explain_spot(model, data, 20, "GENE3")
    with torch.no_grad():
        assert found.predicted == pytest.approx(float(model(data)["expression"][20, 2]), abs=1e-5)
        assert abs(found.predicted - float(model.train()(data)["expression"][20, 2])) > 1e-3
    difference = found.predicted - found.pixels[0].reference
    assert found.pixels[0].attribution.sum() == pytest.approx(difference, abs=0.1 * abs(difference) + 2e-3)


def test_attention_reaches_all_spots(data: SectionData) -> None:
    model = ready(HisToGene(len(GENES), patch_size=P, channels=16, transformer_layers=1, heads=2, dim_head=8))
    found = explain_spot(model, views(data, 1), 20, "GENE3", pixels=0)
    assert len(found.neighbors) == len(data.pos)
    assert (found.importance != 0).all()
    assert found.edges.shape == (2, 0)
    both = build(transformer_layers=1, gnn_layers=1)
    assert len(explain_spot(both, data, 20, "GENE3", pixels=0).neighbors) == len(data.pos)


def test_data_without_patches(data: SectionData) -> None:
    data = copy.copy(data)
    del data.x
    with pytest.raises(ValueError, match=r"has no x \(patches or embeddings\); set it, or pass patches"):
        explain_spot(build(), data, 20, "GENE3")
