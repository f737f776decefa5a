"""Explanations by every layer and model, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.data import SectionData
from hist2st_pyg.explain import (
    explain_spot,
)
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.base import ClosedFormModel, ExpressionModel
from hist2st_pyg.nn import CONVS
from tests._helpers.explained import GENES, P, build, ready


def state(model: ExpressionModel) -> list[Any]:
    """Everything that an explanation must leave as it was."""
    modules = list(model.modules())
    return [
        {name: value.clone() for name, value in model.state_dict().items()},
        [(module.training, dict(module._forward_hooks), dict(module._forward_pre_hooks)) for module in modules],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        [(m.explain, m._edge_mask, sorted(m._parameters)) for m in modules if isinstance(m, MessagePassing)],
    ]


@pytest.mark.parametrize("gnn", sorted(CONVS))
def test_every_layer(data: SectionData, gnn: str) -> None:
    model = build(gnn=gnn, color_stream=True, vision_kwargs={"channels": [4], "out_channels": 8})
    with torch.no_grad():
        expected = float(model(data)["expression"][20, 2])
    for parameter in list(model.parameters())[::3]:
        parameter.requires_grad_(False)
    model.train()
    model.streams[0].vision.eval()
    before, random = state(model), torch.get_rng_state()
    reach = k_hop_subgraph(20, model.num_hops, data.edge_index)[0].tolist()
    found = explain_spot(model, data, 20, "GENE3", steps=16)
    assert found.predicted == pytest.approx(expected, abs=1e-5)
    assert sorted(found.neighbors.tolist()) == reach
    assert found.neighbors[0] == 20
    rest = np.abs(found.importance[1:])
    assert (np.diff(rest) <= 0).all()
    assert np.isfinite(found.importance).all()
    assert found.edge_importance is not None
    assert np.isfinite(found.edge_importance).all()
    assert found.edges.shape == (2, len(found.edge_importance))
    assert (found.edges.shape[1] > 0) == (gnn != "none")
    assert set(found.edges.ravel().tolist()) <= set(reach)
    if gnn != "none":
        assert rest.max() > 0
        assert np.abs(found.edge_importance).max() > 0
    after = state(model)
    assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
    assert after[1:] == before[1:]
    assert torch.equal(torch.get_rng_state(), random)


class Smoothed(ExpressionModel):
    """A user's own: the neighbors' sum of what a convolutional network says."""

    def __init__(self) -> None:
        super().__init__(len(GENES), n_scales=2)
        self.vision = build().streams[0].vision
        self.lin = nn.Linear(16, len(GENES))

    def forward(self, data: SectionData) -> dict[str, Tensor]:
        h = self.lin(self.encode(self.vision, data))
        source, target = data.edge_index
        return {"expression": torch.zeros_like(h).index_add(0, target, h[source]), "embedding": h}


def test_a_model_of_one_s_own(data: SectionData) -> None:
    model = ready(Smoothed())
    found = explain_spot(model, data, 20, "GENE3", pixels=2, steps=8)
    assert len(found.neighbors) == len(data.pos)  # it does not say how far it looks
    around = data.edge_index[0, data.edge_index[1] == 20]
    assert set(found.neighbors[1:][np.abs(found.importance[1:]) > 0]) == set(around.tolist())
    assert found.importance[0] == 0
    assert found.edge_importance is None
    assert found.pixels[0].importance.max() == 0
    assert found.pixels[1].importance.max() > 0


FITTED = sorted(key for key, cls in MODELS.items() if isinstance(cls, type) and issubclass(cls, ClosedFormModel))


@pytest.mark.parametrize("key", FITTED)
def test_models_that_are_not_differentiable(data: SectionData, key: str) -> None:
    options = {"vision": "cnn"} if key == "embedding_ridge" else {}
    model = ready(MODELS[key](len(GENES), **options))
    with pytest.raises(TypeError, match=r"cannot be explained.*graph_only, .*hist2st, histogene, .*stnet"):
        explain_spot(model, data, 0, "GENE1")


def retrieving(data: SectionData, weighting: str) -> ExpressionModel:
    torch.manual_seed(0)
    options = {"vision": "cnn", "vision_kwargs": {"channels": [8], "out_channels": 8}, "channels": 4, "k": 40}
    model = ready(MODELS["bleep"](len(GENES), patch_size=P, n_scales=2, weighting=weighting, **options))
    model.remember([data])
    return model


def test_retrieved_spots_weighted_by_distance_are_explained(data: SectionData) -> None:
    found = explain_spot(retrieving(data, "distance"), data, 20, "GENE3", steps=64)
    assert found.neighbors.tolist() == [20]
    difference = found.predicted - found.reference
    assert abs(difference) > 1e-3
    assert found.importance.sum() == pytest.approx(difference, rel=0.05)
    assert found.edge_importance is not None


def test_retrieved_spots_weighted_alike_have_no_gradient(data: SectionData) -> None:
    with pytest.raises(ValueError, match=r"of this Bleep is not differentiable.*weighting='distance' can\."):
        explain_spot(retrieving(data, "mean"), data, 20, "GENE3")


def test_a_graph_with_exemplars_is_explained(data: SectionData) -> None:
    torch.manual_seed(0)
    model = ready(MODELS["eggn"](len(GENES), patch_size=P, n_scales=2, channels=8, layers=1, k=2))
    model.remember([data])
    found = explain_spot(model, data, 20, "GENE3", steps=8)
    assert len(found.neighbors) == len(data.pos)
    assert found.edge_importance is None
    assert found.pixels[0].importance.max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gene": "GENE33"}, r"'GENE33' is not in the model's panel of 4 genes. Did you mean GENE3"),
        ({"gene": "ZZZ"}, r"'ZZZ' is not in the model's panel of 4 genes\.$"),
        ({"spot": 48}, "spot must be from 0 to 47, got 48"),
        ({"spot": -1}, "spot must be from 0 to 47, got -1"),
        ({"pixels": -1}, "pixels must be 0 or more, got -1"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
    ],
)
def test_errors(data: SectionData, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain_spot(build(), data, **{"spot": 20, "gene": "GENE3", **change})


def test_a_model_without_recipe(data: SectionData) -> None:
    model = build()
    model.preprocessing = None
    with pytest.raises(ValueError, match="has no preprocessing"):
        explain_spot(model, data, 20, "GENE3")
