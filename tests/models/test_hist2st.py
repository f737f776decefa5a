from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.small_hist2st import SMALL, P, trained
from torch_geometric.data import Batch
from torch_geometric.nn import GATv2Conv, GPSConv, SAGEConv

from hist2st_pyg import Hist2ST, Section, load_model, losses, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.nn import CONVS

KEYS = {
    None: {"expression", "embedding"},
    "zinb": {"expression", "embedding", "mean", "dispersion", "dropout"},
    "nb": {"expression", "embedding", "log_r", "logit_p"},
}


@pytest.mark.parametrize(("n_views", "millions"), [(0, 74.7), (5, 75.8)])
def test_the_defaults_are_the_papers(n_views: int, millions: float) -> None:
    with torch.device("meta"):  # shapes without memory
        model = Hist2ST(785, n_views=n_views)
    g, c, width = 785, 1024, 16 * 64
    mixer = 2 * (25 * 32 + 32 + 64) + 32 * 32 + 32 + 64  # two depthwise and a pointwise, each with a BatchNorm
    expected = {
        "vision": (3 * 49 * 32 + 32) + 2 * mixer + (32 * 4 + 4),
        "transformer": 2 * 64 * c + 8 * (3 * c * width + width * c + c + 2 * c + 2 * (c * c + c) + 2 * c),
        "gnn": 4 * c * c + 2 * (8 * c * c + 8 * c),
        "expression": 2 * c + c * g + g,
        "likelihood": 3 * (c * g + g),
        "distillation": (c * c + c + c + 1) if n_views else 0,
    }
    for name, size in expected.items():
        stage = getattr(model.streams[0], name) if hasattr(model.streams[0], name) else getattr(model, name)
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
    assert "streams" not in out


@pytest.mark.parametrize(
    ("gnn", "likelihood", "n_views"),
    [(gnn, "zinb", 2) for gnn in sorted(CONVS)]
    + [("hist2st", None, 0), ("hist2st", "zinb", 0), ("hist2st", "nb", 0), ("gat", "nb", 2), ("gat", None, 2)],
)
def test_every_parameter_is_trained(
    build: Callable[..., Hist2ST], data: SectionData, gnn: str, likelihood: str | None, n_views: int
) -> None:
    model = build(likelihood=likelihood, n_views=n_views, gnn=gnn, dropout=0.0)
    out = model(data)
    loss = losses.expression_error(out, data)
    if likelihood is not None:
        loss = loss + losses.negative_log_likelihood(out, data)
    if n_views:
        loss = loss + losses.distillation_error(model.distil([data] * n_views), out, data)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for name in ("vision", "transformer", *(["gnn"] if gnn != "none" else []), "expression"):
        stage = getattr(model.streams[0], name)
        assert sum(float(p.grad.abs().sum()) for p in stage.parameters() if p.grad is not None) > 0


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
        jk="cat", position="fourier", mlp_channels=24, dropout=0.4, vision="cnn",
        vision_kwargs={"out_channels": 32, "channels": (8,)},
    )  # fmt: skip
    assert [conv.heads for conv in model.streams[0].gnn.convs] == [2, 2]
    assert (model.streams[0].gnn.residual, model.streams[0].gnn.dropout.p) == (True, 0.3)
    assert type(model.streams[0].gnn.act).__name__ == "ELU"
    assert type(model.streams[0].gnn.norms[0]).__name__ == "LayerNorm"
    assert type(model.streams[0].gnn.jk).__name__ == "CatJumpingKnowledge"
    assert type(model.streams[0].transformer.position).__name__ == "FourierPosition"
    assert model.streams[0].transformer.blocks[0].mlp[1].out_features == 24
    assert model.streams[0].transformer.blocks[0].mlp[3].p == 0.4
    assert model.streams[0].vision.out_channels == 32


def test_what_cannot_be_built_is_refused(build: Callable[..., Hist2ST]) -> None:
    with pytest.raises(TypeError, match=r"gnn=GATv2Conv\(...\) is an instance"):
        build(gnn=GATv2Conv(8, 8))
    for argument in ("gnn", "vision", "position", "jk", "likelihood"):
        with pytest.raises(ValueError, match=f"Unknown {argument}='other'. Choose one of: "):
            build(**{argument: "other"})
    with pytest.raises(ValueError, match="n_genes must be at least 1, got 0"):
        Hist2ST(0, **SMALL)


# A second stream, of statistics.


def streams_alone(model: Hist2ST, n_scales: int) -> list[Hist2ST]:
    """Both streams of a model as models of their own."""
    vision_kwargs = ({}, {"vision": "color_texture", "vision_kwargs": {"out_channels": 8, "dropout": 0.0}})
    alone = []
    for options, stream in zip(vision_kwargs, model.streams, strict=True):
        one = Hist2ST(len(model.target_mean), **{**SMALL, **options}, n_scales=n_scales, likelihood=None)
        one.streams[0].load_state_dict(stream.state_dict())  # type: ignore[attr-defined]
        one.target_mean.copy_(model.target_mean)
        one.target_std.copy_(model.target_std)
        alone.append(one.eval())
    return alone


@pytest.mark.parametrize("n_scales", [1, 2])
def test_two_streams_are_two_models_side_by_side(
    build: Callable[..., Hist2ST], sections: dict[int, list[SectionData]], n_scales: int
) -> None:
    model = trained(build(color_stream=True, n_scales=n_scales, likelihood="zinb"), sections[n_scales])
    data = sections[n_scales][0]
    n, g = data.y.shape
    out = model(data)
    first, second = (one(data) for one in streams_alone(model, n_scales))
    torch.testing.assert_close(out["streams"], torch.stack([first["expression"], second["expression"]]))
    torch.testing.assert_close(out["expression"], (first["expression"] + second["expression"]) / 2)
    torch.testing.assert_close(out["embedding"], torch.cat([first["embedding"], second["embedding"]], dim=1))
    assert out["embedding"].shape == (n, 2 * 8 * n_scales)
    assert out["streams"].shape == (2, n, g)
    assert (first["expression"] - second["expression"]).abs().max() > 0.1


@pytest.mark.parametrize("n_scales", [1, 2])
@pytest.mark.parametrize("likelihood", [None, "zinb", "nb"])
def test_the_output_of_two_streams_by_likelihood(
    build: Callable[..., Hist2ST], sections: dict[int, list[SectionData]], likelihood: str | None, n_scales: int
) -> None:
    model = build(color_stream=True, likelihood=likelihood, n_scales=n_scales)
    data = sections[n_scales][0]
    out = model(data)
    assert set(out) == KEYS[likelihood] | {"streams"}
    for name, value in out.items():
        assert torch.isfinite(value).all(), name
        assert name in ("embedding", "streams") or value.shape == data.y.shape
    if likelihood is not None:
        losses.negative_log_likelihood(out, data).backward()
        reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == {"streams", "likelihood"}
        for stream in model.streams:  # it reads both embeddings
            assert any(p.grad is not None and p.grad.any() for p in stream.gnn.parameters())
    assert "streams" not in build(likelihood=likelihood, n_scales=n_scales)(data)


def test_a_detached_likelihood_leaves_both_streams_alone(build: Callable[..., Hist2ST], data: SectionData) -> None:
    model = build(color_stream=True, detach_likelihood=True)
    losses.negative_log_likelihood(model(data), data).backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"likelihood"}


@pytest.mark.parametrize("gnn", sorted(CONVS))
def test_the_squared_error_trains_both_streams(build: Callable[..., Hist2ST], data: SectionData, gnn: str) -> None:
    model = build(color_stream=True, likelihood=None, gnn=gnn, dropout=0.0)
    losses.expression_error(model(data), data).backward()
    assert len(model.streams) == 2
    for stream in model.streams:
        for name in ("vision", "transformer", "expression", *(["gnn"] if gnn != "none" else [])):
            gradients = [p.grad for p in getattr(stream, name).parameters()]
            assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients), name
            assert any(grad.any() for grad in gradients), name
    assert [type(conv) for conv in model.streams[1].gnn.convs] == [type(conv) for conv in model.streams[0].gnn.convs]


def test_each_stream_learns_as_if_it_were_alone(
    build: Callable[..., Hist2ST], sections: dict[int, list[SectionData]]
) -> None:
    model = trained(build(color_stream=True, likelihood=None), sections[1])
    data = sections[1][0]
    losses.expression_error(model(data), data).backward()
    for one, stage in zip(streams_alone(model, 1), model.streams, strict=True):
        losses.expression_error(one(data), data).backward()
        gradients = dict(stage.named_parameters())
        for name, parameter in one.streams[0].named_parameters():  # type: ignore[attr-defined]
            assert parameter.grad is not None
            torch.testing.assert_close(gradients[name].grad, parameter.grad / 2, msg=name)


@pytest.mark.parametrize("n_scales", [1, 2])
@pytest.mark.parametrize("gnn", ["gat", "hist2st", "pna", lambda i, o: GPSConv(i, SAGEConv(i, o), heads=2)])
def test_with_two_streams_each_section_of_a_batch_is_as_if_alone(
    build: Callable[..., Hist2ST], sections: dict[int, list[SectionData]], gnn: Any, n_scales: int
) -> None:
    model = trained(build(color_stream=True, gnn=gnn, n_scales=n_scales), sections[n_scales])
    with torch.no_grad():
        together = model(Batch.from_data_list(sections[n_scales]))
        alone = [model(data) for data in sections[n_scales]]
    for name, value in together.items():
        expected = torch.cat([out[name] for out in alone], dim=1 if name == "streams" else 0)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_scales": 2, "likelihood": "nb", "gnn": "gat"},
        {"likelihood": None, "gnn": "gat", "gnn_kwargs": {"heads": 2}, "gnn_dropout": 0.3, "position": "fourier"},
        {"vision": "color_texture", "vision_kwargs": {"out_channels": 8}, "n_views": 2},
    ],
)
def test_a_model_of_two_streams_is_saved_and_loaded(
    build: Callable[..., Hist2ST], sections: dict[int, list[SectionData]], tmp_path: Path, options: dict[str, Any]
) -> None:
    data = sections[options.get("n_scales", 1)]
    model = trained(build(color_stream=True, **options), data)
    loaded = load_model(model.save_pretrained(tmp_path / "model"))
    assert loaded.config == model.config
    assert loaded.config["color_stream"] is True
    before, after = model(data[0]), loaded(data[0])
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_a_custom_layer_is_in_both_streams_and_asked_for_again(
    build: Callable[..., Hist2ST], data: SectionData, tmp_path: Path
) -> None:
    model = trained(build(color_stream=True, gnn=GATv2Conv), [data])
    folder = model.save_pretrained(tmp_path / "model")
    loaded = load_model(folder, gnn=GATv2Conv)
    assert isinstance(loaded, Hist2ST)
    assert len(loaded.streams) == 2
    assert isinstance(loaded.streams[1].gnn.convs[0], GATv2Conv)
    assert torch.equal(loaded(data)["expression"], model(data)["expression"])


def test_without_color_stream_there_is_one_stream(build: Callable[..., Hist2ST]) -> None:
    model = build()
    assert len(model.streams) == 1
    assert (model.vision, model.gnn) == (model.streams[0].vision, model.streams[0].gnn)


def test_distilling_two_streams_distils_what_they_predict_together(
    build: Callable[..., Hist2ST], sections: dict[int, list[SectionData]]
) -> None:
    model, data = trained(build(color_stream=True, n_views=3), sections[1]), sections[1][0]
    torch.testing.assert_close(model.distil([data] * 3), model(data)["expression"])
    other = data.clone()
    other.x = data.x.flip(3)
    model.train().distil([data, other]).square().sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    parts = (
        "streams.0.vision.",
        "streams.1.vision.",
        "streams.0.expression.",
        "streams.1.expression.",
        "distillation.",
    )
    assert all(any(name.startswith(part) for name in reached) for part in parts)


def test_precomputed_embeddings_have_no_statistics() -> None:
    for name in ("color_stream", "kernel_stream"):
        with pytest.raises(ValueError, match=f"no patches to compute statistics of; set {name}=False"):
            Hist2ST(3, vision="precomputed", vision_kwargs={"embedding_channels": 8}, **{name: True})
