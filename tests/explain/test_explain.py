from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg import Hist2ST, HisToGene, Preprocessing, Section
from hist2st_pyg.data import SectionData
from hist2st_pyg.data.source import rows_of
from hist2st_pyg.explain import (
    BASELINES,
    METHODS,
    Explanation,
    explain_image,
    explain_spot,
    explanation_figure,
    find_spots,
)
from hist2st_pyg.models import MODELS, STNet
from hist2st_pyg.models.base import ClosedFormModel, ExpressionModel
from hist2st_pyg.nn import CONVS

P = 16
GENES = tuple(f"GENE{i}" for i in range(1, 5))
SMALL: dict[str, Any] = {
    "patch_size": P, "vision": "cnn", "vision_kwargs": {"channels": [8], "out_channels": 8}, "transformer_layers": 0,
    "position": "none", "gnn": "sage", "gnn_layers": 2, "gnn_norm": "layer", "gnn_residual": True, "jk": "last",
    "heads": 2, "dim_head": 4, "likelihood": None,
}  # fmt: skip
FIELDS = (1.0, 3.0)


def preprocessing(**change: Any) -> Preprocessing:
    return Preprocessing(**{"genes": GENES, "patch_size": P, "k": 4, "scales": FIELDS, **change})


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    return preprocessing().to_data(cohort[0])


def build(**options: Any) -> Hist2ST:
    torch.manual_seed(0)
    model = Hist2ST(len(GENES), **{"n_scales": len(FIELDS), **SMALL, **options})
    return ready(model)


def ready(model: Any, **change: Any) -> Any:
    """With a preprocessing, statistics of colors and of targets."""
    model.preprocessing = preprocessing(scales=FIELDS[: len(model.pixel_mean) // 3], **change)
    model.pixel_mean.fill_(150)
    model.pixel_std.fill_(50)
    model.target_mean.copy_(torch.arange(len(GENES)))
    model.target_std.fill_(0.7)
    return model.eval()


def views(data: SectionData, n: int) -> SectionData:
    """The data with the first n fields of view."""
    data = copy.copy(data)
    data.x = data.x[:, : 3 * n]
    return data


def importance_of(explanation: Explanation) -> dict[int, float]:
    return dict(zip(explanation.neighbors.tolist(), explanation.importance.tolist(), strict=True))


# A graph of which one edge counts.


class MarkedEdges(MessagePassing):
    """What comes along edges of length 2, and nothing else."""

    hops = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(aggr="add")
        self.lin = nn.Linear(in_channels, out_channels)  # without a bias the head's norm would undo a weight

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        out: Tensor = self.lin(self.propagate(edge_index, x=x, edge_attr=edge_attr))
        return out

    def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        return x_j * (edge_attr == 2)


class Plain(nn.Module):
    """The same without PyG."""

    hops = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        source, target = edge_index[:, edge_attr[:, 0] == 2]
        out: Tensor = self.lin(torch.zeros_like(x).index_add(0, target, x[source]))
        return out


def marked(data: SectionData) -> tuple[SectionData, int, int]:
    """The data in which one edge has length 2, its target and its source."""
    data = copy.copy(data)
    edge = 80
    data.edge_attr = torch.ones_like(data.edge_attr)
    data.edge_attr[edge] = 2
    source, target = data.edge_index[:, edge].tolist()
    return data, target, source


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("color_stream", [False, True])
def test_the_one_neighbor_that_counts_comes_first(data: SectionData, method: str, color_stream: bool) -> None:
    data, target, source = marked(data)
    model = build(gnn=MarkedEdges, gnn_layers=1, gnn_residual=False, color_stream=color_stream)
    found = explain_spot(model, data, target, "GENE2", method=method, pixels=2)
    assert found.neighbors[:2].tolist() == [target, source]  # the spot itself, then the most important
    others = np.delete(np.abs(found.importance), 1)
    assert np.abs(found.importance[1]) > 5 * others.max() + 0.01
    assert found.edge_importance is not None
    best = int(np.abs(found.edge_importance).argmax())
    assert found.edges[:, best].tolist() == [source, target]
    assert np.abs(found.edge_importance[best]) > 5 * np.delete(np.abs(found.edge_importance), best).max() + 0.001
    own, other = found.pixels
    assert (own.spot, other.spot) == (target, source)
    assert own.importance.max() == 0
    assert other.importance.max() > 0


def test_layers_that_are_not_pyg_s(data: SectionData) -> None:
    data, target, source = marked(data)
    model = build(gnn=Plain, gnn_layers=1, gnn_residual=False)
    for method in ("gradient", "integrated"):
        found = explain_spot(model, data, target, "GENE2", method=method, pixels=0)
        assert found.neighbors[1] == source
        assert found.edge_importance is None
        assert found.edges.shape[1] > 0
    with pytest.raises(TypeError, match="Plain does not pass messages that way; use method='integrated', which works"):
        explain_spot(model, data, target, "GENE2", method="gnnexplainer")


# Every layer, and models without.


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
def test_every_layer_by_every_method(data: SectionData, gnn: str) -> None:
    model = build(gnn=gnn, color_stream=True, vision_kwargs={"channels": [4], "out_channels": 8})
    with torch.no_grad():
        expected = float(model(data)["expression"][20, 2])
    for parameter in list(model.parameters())[::3]:
        parameter.requires_grad_(False)
    model.train()
    model.streams[0].vision.eval()
    before, random = state(model), torch.get_rng_state()
    reach = k_hop_subgraph(20, model.num_hops, data.edge_index)[0].tolist()
    for method in METHODS:
        found = explain_spot(model, data, 20, "GENE3", method=method, steps=16, epochs=20)
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
        if method == "gradient":
            assert found.importance.sum() == pytest.approx(1)
        if method == "gnnexplainer":
            assert 0 <= found.importance.min() <= found.importance.max() <= 1
    after = state(model)
    assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
    assert after[1:] == before[1:]
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_without_a_graph_there_is_the_spot_itself(data: SectionData, method: str) -> None:
    found = explain_spot(build(gnn="none"), data, 7, "GENE1", method=method, pixels=3)
    assert found.neighbors.tolist() == [7]
    assert found.edges.shape == (2, 0)
    assert found.edge_importance is not None
    assert len(found.edge_importance) == 0
    assert [pixels.spot for pixels in found.pixels] == [7]
    if method == "integrated":
        assert found.reference is not None
        assert found.importance[0] == pytest.approx(found.predicted - found.reference, abs=1e-3)
    else:
        assert found.importance.tolist() == [1]


def test_a_spot_without_edges(data: SectionData) -> None:
    data = copy.copy(data)
    kept = data.edge_index[1] != 7
    data.edge_index, data.edge_attr = data.edge_index[:, kept], data.edge_attr[kept]
    for method in METHODS:
        found = explain_spot(build(), data, 7, "GENE1", method=method, pixels=0)
        assert found.neighbors.tolist() == [7]
        assert found.edges.shape == (2, 0)


# The numbers, beside another way to get them.


def test_the_gradient_is_that_of_the_stages(data: SectionData) -> None:
    model = build(color_stream=True)
    found = explain_spot(model, data, 20, "GENE3", method="gradient", pixels=0)
    streams = model.streams
    inputs = [model.encode(m.vision, data).detach().requires_grad_() for m in streams]

    def predict() -> Tensor:
        h = [m.expression(m.gnn(x, data.edge_index, data.edge_attr)) for m, x in zip(streams, inputs, strict=True)]
        return model.unstandardize(torch.stack(h).mean(0))[20, 2]

    norms = torch.cat(torch.autograd.grad(predict(), inputs), dim=1).norm(dim=1)
    expected = norms / norms.sum()
    ours = importance_of(found)
    torch.testing.assert_close(torch.tensor([ours.get(i, 0.0) for i in range(len(expected))]), expected)
    # An edge's weight is that of its messages: leaving one out by a little changes the mean of two layers.
    best = int(np.argmax(found.edge_importance))  # type: ignore[arg-type]
    with torch.no_grad():
        less = {}
        for weight in (1.0, 0.99):

            def weighted(module: Any, args: Any, out: Tensor, weight: float = weight) -> Tensor:
                factor = torch.ones(len(out), 1)
                factor[(data.edge_index == torch.tensor(found.edges[:, best])[:, None]).all(0)] = weight
                return out * factor

            hooks = [conv.register_message_forward_hook(weighted) for m in streams for conv in m.gnn.convs]
            less[weight] = float(predict())
            for hook in hooks:
                hook.remove()
    slope = abs(less[1.0] - less[0.99]) / 0.01
    assert found.edge_importance is not None
    assert found.edge_importance[best] == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("layers", [0, 1])
def test_what_spots_add_is_the_difference_from_average_spots(data: SectionData, layers: int) -> None:
    model = build(color_stream=True, transformer_layers=layers, position="fourier")
    found = explain_spot(model, data, 20, "GENE3", pixels=0, steps=64)
    n = len(data.pos)
    with torch.no_grad():
        streams = model.streams
        means = [model.encode(m.vision, data).mean(0).expand(n, -1) for m in streams]  # n is below the sample's size
        h = [
            m.gnn(m.transformer(x, data.grid, [0, n]), data.edge_index, data.edge_attr)
            for m, x in zip(streams, means, strict=True)
        ]
        values = [m.expression(x) for m, x in zip(streams, h, strict=True)]
        reference = float(model.unstandardize(torch.stack(values).mean(0))[20, 2])
    assert found.reference == pytest.approx(reference, abs=1e-5)
    assert abs(found.predicted - reference) > 0.01
    assert found.importance.sum() == pytest.approx(found.predicted - reference, abs=0.002)
    assert len(found.neighbors) == (n if layers else len(k_hop_subgraph(20, 2, data.edge_index)[0]))


def test_what_edges_add_is_the_difference_from_no_messages(data: SectionData) -> None:
    model = build(gnn="graph", gnn_act="gelu", gnn_norm="none")
    found = explain_spot(model, data, 20, "GENE3", pixels=0, steps=128)
    alone = copy.copy(data)
    alone.edge_index, alone.edge_attr = data.edge_index[:, :0], data.edge_attr[:0]
    with torch.no_grad():
        difference = found.predicted - float(model(alone)["expression"][20, 2])
    assert found.edge_importance is not None
    assert abs(difference) > 0.01
    assert found.edge_importance.sum() == pytest.approx(difference, rel=0.02)


def test_gnnexplainer_keeps_what_counts_and_has_a_seed(data: SectionData) -> None:
    model = build()
    masks = [explain_spot(model, data, 20, "GENE3", method="gnnexplainer", pixels=0, seed=seed) for seed in (1, 1, 2)]
    assert masks[0].importance.tolist() == masks[1].importance.tolist()
    assert masks[0].importance.tolist() != masks[2].importance.tolist()
    # The seeds agree on which spots and edges, and so does what the spots add.
    added = np.abs([importance_of(explain_spot(model, data, 20, "GENE3", pixels=0))[i] for i in masks[0].neighbors])
    order = np.argsort(masks[2].neighbors), np.argsort(masks[0].neighbors)
    assert np.corrcoef(masks[2].importance[order[0]], masks[0].importance[order[1]])[0, 1] > 0.9
    assert added[masks[0].importance > 0.5].mean() > 3 * added[masks[0].importance < 0.5].mean()


# Pixels.


@pytest.mark.parametrize("baseline", sorted(BASELINES))
@pytest.mark.parametrize("kind", ["stream", "attention", "stnet", "histogene"])
def test_pixels_add_up_to_the_difference_from_the_baseline(data: SectionData, baseline: str, kind: str) -> None:
    model: ExpressionModel
    if kind == "stnet":
        model = ready(STNet(len(GENES), patch_size=P, vision="cnn", vision_kwargs=SMALL["vision_kwargs"]))
    elif kind == "histogene":
        model = ready(HisToGene(len(GENES), patch_size=P, channels=16, transformer_layers=1, heads=2, dim_head=8))
    else:
        options = {"color_stream": True} if kind == "stream" else {"transformer_layers": 1, "position": "table"}
        model = build(**options)
    data = views(data, len(model.pixel_mean) // 3)
    neighbor = kind != "stnet"
    found = explain_spot(model, data, 20, "GENE3", method="gradient", pixels=2, baseline=baseline, steps=128)
    assert len(found.pixels) == 1 + neighbor
    for pixels in found.pixels:
        changed = copy.copy(data)
        changed.x = data.x.float()
        changed.x[pixels.spot] = BASELINES[baseline](changed.x[pixels.spot])
        with torch.no_grad():
            reference = float(model(changed)["expression"][20, 2])
        assert pixels.reference == pytest.approx(reference, abs=1e-5)
        assert pixels.attribution.shape == (len(data.x[0]) // 3, P, P)
        difference = found.predicted - reference
        assert pixels.attribution.sum() == pytest.approx(difference, abs=0.05 * abs(difference) + 2e-4)
        patch = data.x[pixels.spot].reshape(-1, 3, P, P).permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(pixels.patch, patch)
        np.testing.assert_array_equal(pixels.importance, np.abs(pixels.attribution))


def test_the_baselines() -> None:
    patch = torch.rand(6, 40, 40) * 255
    flat = BASELINES["mean"](patch)
    torch.testing.assert_close(flat[:, 3, 5], patch.mean((1, 2)))
    assert float(flat.std((1, 2)).max()) == 0
    soft = BASELINES["blurred"](patch)
    torch.testing.assert_close(soft.mean((1, 2)), patch.mean((1, 2)), rtol=0.02, atol=0)
    assert 0 < float(soft.std((1, 2)).max()) < 0.2 * float(patch.std((1, 2)).min())


class Corner(nn.Module):
    """Sees the top left corner, [:, :, :first, :second]."""

    first, second = 5, 9

    def __init__(self, in_channels: int, patch_size: int) -> None:
        super().__init__()
        self.out_channels = 8
        self.lin = nn.Linear(3 * self.first * self.second, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin(x[:, :, : self.first, : self.second].flatten(1))
        return out


@pytest.mark.parametrize("transpose_patches", [False, True])
@pytest.mark.parametrize("baseline", sorted(BASELINES))
def test_a_model_that_sees_a_corner(data: SectionData, baseline: str, transpose_patches: bool) -> None:
    model = ready(build(vision=Corner, vision_kwargs=None, gnn_residual=True), transpose_patches=transpose_patches)
    found = explain_spot(model, data, 20, "GENE3", baseline=baseline, pixels=2)
    high, wide = (9, 5) if transpose_patches else (5, 9)
    for pixels in found.pixels:
        corner = pixels.importance[:, :high, :wide]
        assert (corner > 0).mean() > 0.95
        assert (pixels.importance > 0).sum() == (corner > 0).sum()
        x = data.x[pixels.spot].reshape(2, 3, P, P).numpy()
        np.testing.assert_array_equal(
            pixels.patch, x.transpose(0, 3, 2, 1) if transpose_patches else x.transpose(0, 2, 3, 1)
        )


class Blind(Corner):
    """Passes no gradient on."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


def test_an_encoder_without_a_gradient(data: SectionData) -> None:
    model = build(vision=Blind, vision_kwargs=None, n_scales=1)
    model.preprocessing = preprocessing(scales=(1.0,))
    with pytest.raises(ValueError, match="Blind passes no gradient to the pixels; set pixels=0 to explain"):
        explain_spot(model, views(data, 1), 20, "GENE3")
    assert len(explain_spot(model, views(data, 1), 20, "GENE3", pixels=0).neighbors) > 1


def test_a_frozen_foundation_model(data: SectionData) -> None:
    pytest.importorskip("transformers")
    config = {
        "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14, "intermediate_size": 16,
    }  # fmt: skip
    model = build(vision="phikon", vision_kwargs={"config": config, "size": 28}, n_scales=1)
    model.preprocessing = preprocessing(scales=(1.0,))
    found = explain_spot(model, views(data, 1), 20, "GENE3", steps=4)
    assert found.pixels[0].importance.max() > 0
    assert model.streams[0].vision.frozen
    assert not model.encode(model.streams[0].vision, views(data, 1)).requires_grad


def test_embeddings_have_no_pixels(data: SectionData) -> None:
    options = {"vision": "precomputed", "vision_kwargs": {"embedding_channels": 5, "out_channels": 8}, "n_scales": 1}
    model = build(**options)
    data = copy.copy(data)
    data.x = torch.randn(len(data.pos), 5)
    found = explain_spot(model, data, 20, "GENE3")
    assert found.pixels == ()
    assert len(found.neighbors) > 1
    assert len(explanation_figure(found, data.pos.numpy()).axes) == 2


# What is read.


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
    from hist2st_pyg.explain import reading

    monkeypatch.setattr(reading, "SAMPLE", 6)
    model, asked = build(color_stream=True), []

    def patches(spots: NDArray[np.int64] | None) -> Tensor:
        asked.extend([] if spots is None else spots.tolist())
        return rows_of(data.x)(spots)

    for method in METHODS:
        asked.clear()
        found = explain_spot(model, data, 20, "GENE3", method=method, patches=patches)
        reach = set(k_hop_subgraph(20, 2, data.edge_index)[0].tolist())
        assert set(found.neighbors.tolist()) == reach
        assert reach < set(asked)
        assert len(asked) <= len(reach) + 6 < len(data.pos)
        with torch.no_grad():
            assert found.predicted == pytest.approx(float(model(data)["expression"][20, 2]), abs=1e-5)
        difference = found.predicted - found.pixels[0].reference
        assert found.pixels[0].attribution.sum() == pytest.approx(difference, abs=0.05 * abs(difference) + 1e-3)


def test_attention_reaches_all_spots(data: SectionData) -> None:
    model = ready(HisToGene(len(GENES), patch_size=P, channels=16, transformer_layers=1, heads=2, dim_head=8))
    found = explain_spot(model, views(data, 1), 20, "GENE3", pixels=0)
    assert len(found.neighbors) == len(data.pos)
    assert (found.importance != 0).all()
    assert found.edges.shape == (2, 0)
    with pytest.raises(TypeError, match="HisToGene does not have; use method='integrated'"):
        explain_spot(model, views(data, 1), 20, "GENE3", method="gnnexplainer")
    # GNNExplainer looks at the graph layers alone.
    both = build(transformer_layers=1, gnn_layers=1)
    masks = explain_spot(both, data, 20, "GENE3", method="gnnexplainer", pixels=0, epochs=5)
    assert len(masks.neighbors) == 1 + 4
    assert len(explain_spot(both, data, 20, "GENE3", pixels=0).neighbors) == len(data.pos)


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
    with pytest.raises(TypeError, match="which Smoothed does not have"):
        explain_spot(model, data, 20, "GENE3", method="gnnexplainer")


# Errors.


FITTED = sorted(key for key, cls in MODELS.items() if isinstance(cls, type) and issubclass(cls, ClosedFormModel))


@pytest.mark.parametrize("key", FITTED)
def test_models_that_are_not_differentiable(data: SectionData, key: str) -> None:
    options = {"vision": "cnn"} if key == "embedding_ridge" else {}
    model = ready(MODELS[key](len(GENES), **options))
    with pytest.raises(TypeError, match=r"cannot be explained.*graph_only, hist2st, histogene, stnet\."):
        explain_spot(model, data, 0, "GENE1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gene": "GENE33"}, r"'GENE33' is not in the model's panel of 4 genes. Did you mean GENE3"),
        ({"gene": "ZZZ"}, r"'ZZZ' is not in the model's panel of 4 genes\.$"),
        ({"spot": 48}, "spot must be from 0 to 47, got 48"),
        ({"spot": -1}, "spot must be from 0 to 47, got -1"),
        ({"method": "lime"}, "Unknown method='lime'. Choose one of: gnnexplainer, gradient, integrated."),
        ({"baseline": "black"}, "Unknown baseline='black'. Choose one of: blurred, mean."),
        ({"pixels": -1}, "pixels must be 0 or more, got -1"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
    ],
)
def test_errors(data: SectionData, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain_spot(build(), data, **{"spot": 20, "gene": "GENE3", **change})


def test_data_without_patches(data: SectionData) -> None:
    data = copy.copy(data)
    del data.x
    with pytest.raises(ValueError, match=r"has no x \(patches or embeddings\); set it, or pass patches"):
        explain_spot(build(), data, 20, "GENE3")


def test_a_model_without_recipe(data: SectionData) -> None:
    model = build()
    model.preprocessing = None
    with pytest.raises(ValueError, match="has no preprocessing"):
        explain_spot(model, data, 20, "GENE3")


def test_spots_by_name() -> None:
    names = ["10x11", "10x12", "7x7"]
    assert find_spots(names, ["7x7", "10x11", "7x7"]) == [2, 0]
    with pytest.raises(ValueError, match=r"There is no spot '10x1' among 3\. Did you mean 10x1"):
        find_spots(names, ["10x1"])
    with pytest.raises(ValueError, match=r"There is no spot 'ACGT' among 3\.$"):
        find_spots(names, ["ACGT"])


# Pictures and images.


@pytest.mark.parametrize(("method", "fields", "pixels"), list(itertools.product(sorted(METHODS), (1, 2), (1, 2))))
def test_the_picture(cohort: list[Section], data: SectionData, method: str, fields: int, pixels: int) -> None:
    model = build(n_scales=fields)
    model.preprocessing = preprocessing(scales=FIELDS[:fields])
    found = explain_spot(model, views(data, fields), 20, "GENE3", method=method, pixels=pixels, steps=2, epochs=5)
    image = cohort[0].require_image()
    figure = explanation_figure(found, cohort[0].pos, image, image.thumbnail(50))
    figure.draw_without_rendering()
    assert figure.get_suptitle() == (
        f"GENE3 at spot 20: predicted {found.predicted:.2f}, measured {found.measured:.2f} (log10 expression)"
    )
    axes = figure.axes
    assert len(axes) == 1 + 2 * fields * pixels + 1  # the map, its color bar, patches and heats
    shown = axes[2].get_images()[0].get_array()
    np.testing.assert_array_equal(shown, found.pixels[0].patch[0])
    (circles,) = [c for c in axes[0].collections if type(c).__name__ == "EllipseCollection"]
    np.testing.assert_array_equal(circles.get_array(), found.importance)
    np.testing.assert_array_equal(circles.get_offsets(), cohort[0].pos[found.neighbors])
    left, right, bottom, top = axes[0].get_images()[0].get_extent()
    x, y = cohort[0].pos[20]
    assert left < x < right
    assert top < y < bottom


def test_a_map_of_all_spots_has_numbers_above_them_and_no_overview(cohort: list[Section], data: SectionData) -> None:
    image, pos = cohort[0].require_image(), cohort[0].pos
    model = ready(HisToGene(len(GENES), patch_size=P, channels=16, transformer_layers=1, heads=2, dim_head=8))
    found = explain_spot(model, views(data, 1), 20, "GENE3", pixels=0, steps=4)
    (axis, _) = explanation_figure(found, pos, image, image.thumbnail(50)).axes
    assert axis.child_axes == []
    assert min(np.abs(pos - text.get_position()).sum(1).min() for text in axis.texts) > 10
    near = explain_spot(build(gnn_layers=1), data, 20, "GENE3", pixels=0, steps=4)
    (axis, _) = explanation_figure(near, pos, image, image.thumbnail(50)).axes
    assert len(axis.child_axes) == 1
    assert max(np.abs(pos - text.get_position()).sum(1).min() for text in axis.texts) < 1e-6


def test_a_heat_of_nothing_is_drawn(cohort: list[Section], data: SectionData) -> None:
    data, target, _ = marked(data)
    model = build(gnn=MarkedEdges, gnn_layers=1, gnn_residual=False)
    found = explain_spot(model, data, target, "GENE2")
    assert found.pixels[0].importance.max() == 0
    figure = explanation_figure(found, cohort[0].pos)
    figure.draw_without_rendering()
    assert "its pixels add +0.00" in [axis.get_title() for axis in figure.axes]
    with pytest.raises(ValueError, match=r"pos must include spot \d+, got 3 positions"):
        explanation_figure(found, cohort[0].pos[:3])


def test_an_image_s_highest_spots(cohort: list[Section]) -> None:
    model = ready(build(n_scales=1))
    section = replace(cohort[0])
    from hist2st_pyg import predict
    from hist2st_pyg.io.spots import Spots

    spots = Spots(list(section.adata.obs_names), section.pos, section.grid)
    explained = explain_image(model, section.require_image(), ["GENE3", "GENE1"], spots, top=2, pixels=0, device="cpu")
    expected = predict(model, section.require_image(), spots, device="cpu")
    assert [e.gene for e in explained.explanations] == ["GENE3", "GENE3", "GENE1", "GENE1"]
    for gene in ("GENE3", "GENE1"):
        values = expected[:, gene].X.ravel()
        best = [e for e in explained.explanations if e.gene == gene]
        np.testing.assert_allclose([e.predicted for e in best], np.sort(values)[::-1][:2], atol=1e-5)
        assert [e.name for e in best] == list(expected.obs_names[np.argsort(-values)[:2]])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda': no CUDA device was found; choose 'auto' or 'cpu'"):
            explain_image(model, section.require_image(), ["GENE3"], spots, ["3x3"], device="cuda")
    with pytest.raises(ValueError, match="top must be 1 spot per gene or more, got 0"):
        explain_image(model, section.require_image(), ["GENE3"], spots, top=0)
