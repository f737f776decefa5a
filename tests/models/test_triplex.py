from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from _helpers.programs import Convolution, recorded, renamed_weights
from torch import Tensor
from torch_geometric.data import Batch

from hist2st_pyg import ExpressionTask, Section, losses, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import TRIPLEX

P = 20
SMALL: dict[str, Any] = {"vision_kwargs": {"channels": (8,), "out_channels": 16}, "tiles": 4, "heads": 2}
RENAMED = {
    r"^target_encoder\.0": "vision.spot.encoder.conv",
    r"^around": "vision.around.encoder.conv",
    r"^neighbor_encoder\.layer\.layers\.(\d)\.0\.fn\.attention_biases": r"surroundings.biases.\1",
    r"^neighbor_encoder\.layer\.layers\.(\d)\.0(\.fn)?": r"surroundings.attentions.\1",
    r"^neighbor_encoder\.layer\.layers\.(\d)\.1": r"surroundings.mlps.\1",
    r"^neighbor_encoder\.norm": "surroundings.norm",
    r"^global_encoder\.pos_layer\.proj1": "position.conv",
    r"^global_encoder\.layer1\.layers\.0": "section_first.blocks.0",
    r"^global_encoder\.layer2\.layers\.0": "section_rest.blocks.0",
    r"^global_encoder\.norm": "section_norm",
    r"^fusion_encoder\.fusion_layer\.layers\.(\d)\.0(\.fn)?": r"fusion.attentions.\1",
    r"^fusion_encoder\.fusion_layer\.layers\.(\d)\.1": r"fusion.mlps.\1",
    r"^fusion_encoder\.norm": "norm",
    r"^fc_target": "views.spot",
    r"^fc_neighbor": "views.around",
    r"^fc_global": "views.section",
    r"^fc\.": "expression.",
    r"blocks\.0\.0(\.fn)?": "blocks.0.attention",
    r"blocks\.0\.1": "blocks.0.mlp",
    r"(mlp|mlps\.\d)\.norm": r"\1.0",
    r"(mlp|mlps\.\d)\.fn\.net\.0": r"\1.1",
    r"(mlp|mlps\.\d)\.fn\.net\.3": r"\1.4",
    r"\.to_out\.": ".out.",
    r"\.to_qkv\.": ".qkv.",
    r"\.to_q\.": ".query.",
    r"\.to_kv\.": ".key_value.",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return recorded("triplex")


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    return to_data(section, list(section.adata.var_names), patch_size=P, scales=(1.0, 3.5))


def build(data: SectionData, **options: Any) -> TRIPLEX:
    torch.manual_seed(0)
    return TRIPLEX(data.y.shape[1], patch_size=P, **{**SMALL, **options})


def renamed(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """The recorded weights under this model's names; of the surroundings, query is apart from key and value."""
    state = {}
    for name, value in renamed_weights(golden, RENAMED):
        if name.startswith("surroundings") and ".qkv." in name:
            state[name.replace("qkv", "query")], state[name.replace("qkv", "key_value")] = value.split([16, 32])
        else:
            state[name] = value
    return state


def test_outputs_and_loss_of_the_program_are_reproduced(golden: dict[str, Tensor]) -> None:
    model = TRIPLEX(6, patch_size=P, vision=Convolution, tiles=4, heads=2).eval()
    missing, unexpected = model.load_state_dict(renamed(golden), strict=False)
    assert unexpected == []
    assert set(missing) == {"pixel_mean", "pixel_std", "target_mean", "target_std"}
    x = torch.cat([golden["in.near"], golden["in.far"]], dim=1)
    data = SectionData(x=x, grid=golden["in.grid"], y=golden["in.y"], num_nodes=len(x))
    with torch.no_grad():
        out = model(data)
        parts = model.own_losses(out, data, losses.Options())
    for name in ("expression", "spot", "around", "section"):
        torch.testing.assert_close(out[name], golden[f"out.{name}"], rtol=1e-5, atol=1e-5, msg=name)
    torch.testing.assert_close(parts["expression"] + parts["views"], golden["out.loss"], rtol=1e-5, atol=0)


def test_output_and_gradients(data: SectionData) -> None:
    model = build(data)
    out = model(data)
    assert {name: list(value.shape) for name, value in out.items()} == {
        "embedding": [12, 16],
        **{name: list(data.y.shape) for name in ("expression", "spot", "section", "around")},
    }
    torch.stack(list(model.own_losses(out, data, losses.Options()).values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_the_losses_of_the_views_are_those_of_the_formula(data: SectionData) -> None:
    model = build(data, alpha=0.2)
    out, scale = model(data), torch.rand(data.y.shape[1]) + 0.5
    found = model.own_losses(out, data, losses.Options(scale, "mean", "absolute"))["views"]
    expected = torch.zeros(())
    for view in ("spot", "section", "around"):
        expected = expected + 0.8 * ((out[view] - data.y) / scale).abs().mean()
        expected = expected + 0.2 * ((out[view] - out["expression"]) / scale).square().mean()
    torch.testing.assert_close(found, expected)


def test_a_step_of_training_takes_the_views_losses(data: SectionData) -> None:
    model = build(data, dropout=0.0, vision=Convolution, vision_kwargs=None)
    batch = Batch.from_data_list([data])
    found = ExpressionTask(model).losses(batch)
    assert list(found) == ["expression", "views"]
    torch.testing.assert_close(found, model.own_losses(model(batch), batch, losses.Options()))


def test_one_field_of_view_has_no_surroundings(data: SectionData) -> None:
    near = data.clone()
    near.x = data.x[:, :3]
    out = build(data, n_scales=1)(near)
    assert sorted(out) == ["embedding", "expression", "section", "spot"]


def test_the_surroundings_are_the_second_field_of_view(data: SectionData) -> None:
    model, other = build(data).eval(), data.clone()
    other.x = data.x.clone()
    other.x[3, 3:] = 0
    with torch.no_grad():
        before, after = model(data), model(other)
    changed = (before["expression"] != after["expression"]).any(1)
    assert changed.nonzero().flatten().tolist() == [3]  # the section's vectors are of the first field of view
    assert torch.equal(before["spot"], after["spot"])
    assert torch.equal(before["section"], after["section"])


def test_embeddings_are_one_token(data: SectionData) -> None:
    embedded = data.clone()
    embedded.x = torch.randn(12, 10)
    kwargs = {"embedding_channels": 10, "out_channels": 16}
    out = build(data, n_scales=1, vision="precomputed", vision_kwargs=kwargs)(embedded)
    assert out["expression"].shape == data.y.shape


def test_known_features_are_not_computed_again(data: SectionData) -> None:
    model = build(data, attention="local").eval()
    with torch.no_grad():
        features = model.features(data)
        assert [list(each.shape) for each in features] == [[12, 16 * (16 + 25)]]
        without = data.clone()
        without.x = None
        assert torch.equal(model(without, features)["expression"], model(data)["expression"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_scales": 3}, r"TRIPLEX needs 1 or 2 fields of view \(data\.scales\).*got 3"),
        ({"heads": 3}, r"heads divides C=16; got 2, 3"),
        ({"kernel_size": 2}, r"kernel_size must be odd and at least 1, got 2"),
        ({"alpha": 1.5}, r"alpha must be from 0 to 1 and mlp_ratio above 0 and below 1000, got 1\.5 and 2\.0"),
        ({"mlp_ratio": float("inf")}, r"got 0\.3 and inf"),
        (
            {"vision": "precomputed", "vision_kwargs": {"embedding_channels": 4}},
            r"Precomputed embeddings have one field of view; set n_scales=1",
        ),
        ({"layers": 0}, r"layers and heads are at least 1.*got 0, 2"),
        ({"tiles": 0}, r"A patch of 20 pixels has 1 to 20 tiles along a side, got 0"),
        ({"tiles_around": 21}, r"1 to 20 tiles along a side, got 21"),
    ],
)
def test_what_cannot_be_built_is_told(data: SectionData, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(data, **options)
