from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch_geometric.nn import GATv2Conv

from hist2st_pyg import Hist2ST, Section, losses, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.nn import CONVS

P = 14
SMALL: dict[str, Any] = {
    "patch_size": P,
    "vision_kwargs": {"channels": 16, "depth": 1, "kernel_size": 3},
    "transformer_layers": 1,
    "heads": 2,
    "dim_head": 8,
    "gnn_layers": 2,
}
KEYS = {
    None: {"expression", "embedding"},
    "zinb": {"expression", "embedding", "mean", "dispersion", "dropout"},
    "nb": {"expression", "embedding", "log_r", "logit_p"},
}


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    return to_data(section, list(section.adata.var_names), patch_size=P)


@pytest.fixture
def build(data: SectionData) -> Callable[..., Hist2ST]:
    def make(**options: Any) -> Hist2ST:
        torch.manual_seed(0)
        return Hist2ST(data.y.shape[1], **{**SMALL, **options})

    return make


@pytest.mark.parametrize(("views", "millions"), [(0, 74.7), (5, 75.8)])
def test_the_defaults_are_the_papers(views: int, millions: float) -> None:
    with torch.device("meta"):  # shapes without memory
        model = Hist2ST(785, views=views)
    g, c, width = 785, 1024, 16 * 64
    mixer = 2 * (25 * 32 + 32 + 64) + 32 * 32 + 32 + 64  # two depthwise and a pointwise, each with a BatchNorm
    expected = {
        "vision": (3 * 49 * 32 + 32) + 2 * mixer + (32 * 4 + 4),
        "transformer": 2 * 64 * c + 8 * (3 * c * width + width * c + c + 2 * c + 2 * (c * c + c) + 2 * c),
        "gnn": 4 * c * c + 2 * (8 * c * c + 8 * c),
        "expression": 2 * c + c * g + g,
        "likelihood": 3 * (c * g + g),
        "distillation": (c * c + c + c + 1) if views else 0,
    }
    for name, size in expected.items():
        stage = getattr(model, name)
        assert (sum(p.numel() for p in stage.parameters()) if stage is not None else 0) == size, name
    total = sum(p.numel() for p in model.parameters())
    assert total == sum(expected.values())
    assert round(total / 1e6, 1) == millions


@pytest.mark.parametrize("likelihood", [None, "zinb", "nb"])
def test_the_output_by_likelihood(build: Callable[..., Hist2ST], data: SectionData, likelihood: str | None) -> None:
    model = build(likelihood=likelihood).eval()
    out = model(data)
    n, g = data.y.shape
    assert set(out) == KEYS[likelihood]
    assert out["embedding"].shape == (n, 8)
    assert all(value.shape == (n, g) for name, value in out.items() if name != "embedding")
    assert all(bool(torch.isfinite(value).all()) for value in out.values())
    assert torch.equal(out["embedding"], model.embed(data))


@pytest.mark.parametrize(
    ("gnn", "likelihood", "views"),
    [(gnn, "zinb", 2) for gnn in sorted(CONVS)]
    + [("hist2st", None, 0), ("hist2st", "zinb", 0), ("hist2st", "nb", 0), ("gat", "nb", 2), ("gat", None, 2)],
)
def test_every_parameter_is_trained(
    build: Callable[..., Hist2ST], data: SectionData, gnn: str, likelihood: str | None, views: int
) -> None:
    model = build(likelihood=likelihood, views=views, gnn=gnn, dropout=0.0)
    out = model(data)
    loss = losses.squared_error(out, data)
    if likelihood is not None:
        loss = loss + losses.negative_log_likelihood(out, data)
    if views:
        loss = loss + losses.distillation_error(model.distil([data] * views), out, data)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for stage in (model.vision, model.transformer, *([model.gnn] if gnn != "none" else []), model.expression):
        assert sum(float(p.grad.abs().sum()) for p in stage.parameters() if p.grad is not None) > 0


def test_what_is_not_asked_for_is_not_built(build: Callable[..., Hist2ST]) -> None:
    model = build(likelihood=None)
    assert model.likelihood is None
    assert model.distillation is None
    with pytest.raises(ValueError, match="built with views=0"):
        model.distil([])


def test_a_detached_likelihood_leaves_the_stages_before_it_alone(
    build: Callable[..., Hist2ST], data: SectionData
) -> None:
    for detach in (False, True):
        model = build(detach_likelihood=detach)
        losses.negative_log_likelihood(model(data), data).backward()
        reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == ({"likelihood"} if detach else {"vision", "transformer", "gnn", "likelihood"})


def test_distillation_of_equal_views_is_the_prediction(build: Callable[..., Hist2ST], data: SectionData) -> None:
    model = build(views=3).eval()
    torch.testing.assert_close(model.distil([data] * 3), model(data)["expression"])


def test_fitted_statistics_are_used(build: Callable[..., Hist2ST], data: SectionData) -> None:
    plain, fitted = build().eval(), build().eval()
    assert torch.equal(plain.normalise(data.x), data.x.float())
    fitted.pixel_mean.copy_(torch.tensor([200.0, 150.0, 180.0]))
    fitted.pixel_std.copy_(torch.tensor([20.0, 40.0, 30.0]))
    expected = (data.x.double() - fitted.pixel_mean[:, None, None]) / fitted.pixel_std[:, None, None]
    torch.testing.assert_close(fitted.normalise(data.x).double(), expected)
    standard = data.clone()
    standard.x = expected.float()
    torch.testing.assert_close(fitted(data)["embedding"], plain(standard)["embedding"], rtol=1e-4, atol=1e-5)
    before = fitted(data)["expression"]
    fitted.target_mean.fill_(3.0)
    fitted.target_std.fill_(0.5)
    torch.testing.assert_close(fitted(data)["expression"], 3 + 0.5 * before)
    assert not {"pixel_mean", "target_std"} & {name for name, _ in fitted.named_parameters()}


def test_two_scales(build: Callable[..., Hist2ST], cohort: list[Section], data: SectionData) -> None:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    two = to_data(section, list(section.adata.var_names), patch_size=P, scales=(1.0, 3.0))
    model = build(n_scales=2).eval()
    assert model(two)["embedding"].shape == (12, 16)
    with pytest.raises(ValueError, match=r"Patches are \[N, 6, P, P\], got \[12, 3, 14, 14\]"):
        model(data)


@pytest.mark.parametrize("conv", [GATv2Conv, lambda i, o: GATv2Conv(i, o, edge_dim=1)], ids=["class", "factory"])
def test_a_layer_of_the_users(build: Callable[..., Hist2ST], data: SectionData, conv: Any) -> None:
    assert build(gnn=conv).eval()(data)["expression"].shape == data.y.shape


def test_arguments_reach_the_stages(build: Callable[..., Hist2ST]) -> None:
    model = build(
        gnn="gat", gnn_kwargs={"heads": 2}, gnn_norm="layer", gnn_residual=True, gnn_dropout=0.3, gnn_act="elu",
        readout="cat", position="fourier", mlp_channels=24, dropout=0.4, vision="cnn",
        vision_kwargs={"out_channels": 32, "channels": (8,)},
    )  # fmt: skip
    assert [conv.heads for conv in model.gnn.convs] == [2, 2]
    assert (model.gnn.residual, model.gnn.dropout.p) == (True, 0.3)
    assert type(model.gnn.act).__name__ == "ELU"
    assert type(model.gnn.norms[0]).__name__ == "LayerNorm"
    assert type(model.gnn.readout).__name__ == "CatReadout"
    assert type(model.transformer.position).__name__ == "FourierPosition"
    assert model.transformer.blocks[0].mlp[1].out_features == 24
    assert model.transformer.blocks[0].mlp[3].p == 0.4
    assert model.vision.out_channels == 32


def test_what_cannot_be_built_is_refused(build: Callable[..., Hist2ST]) -> None:
    with pytest.raises(TypeError, match=r"gnn=GATv2Conv\(...\) is an instance"):
        build(gnn=GATv2Conv(8, 8))
    for argument in ("gnn", "vision", "position", "readout", "likelihood"):
        with pytest.raises(ValueError, match=f"Unknown {argument}='other'. Choose one of: "):
            build(**{argument: "other"})
    with pytest.raises(ValueError, match="n_genes is at least 1, got 0"):
        Hist2ST(0, **SMALL)


def test_distilling_recomputes_without_counting_batch_norm_twice(
    build: Callable[..., Hist2ST], data: SectionData
) -> None:
    """Gradients and running statistics are those of the plain computation, although activations are not kept."""
    other = data.clone()
    other.x = data.x.flip(3)
    results = []
    for plain in (True, False):
        model = build(views=2).train()
        torch.manual_seed(1)  # of dropout
        if plain:
            assert model.distillation is not None
            h = torch.stack([model.embed(view) for view in (data, other)])
            out = model.distillation(h, model.unstandardise(model.expression(h)))
        else:
            out = model.distil([data, other])
        out.square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((gradients, {name: b.clone() for name, b in model.named_buffers() if "running" in name}))
    (gradients, statistics), (again, counted) = results
    assert statistics
    assert gradients.keys() == again.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(again[name], value)
    for name, value in statistics.items():
        torch.testing.assert_close(counted[name], value)
