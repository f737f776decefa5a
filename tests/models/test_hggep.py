from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from _helpers.programs import Convolution, recorded, renamed_weights
from torch import Tensor

from hist2st_pyg import Section, losses, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import HGGEP

P = 16
SMALL: dict[str, Any] = {
    "vision_kwargs": {"channels": (8,), "out_channels": 16},
    "channels": 32,
    "transformer_layers": 1,
    "heads": 2,
    "dim_head": 8,
    "lstm_layers": 2,
}
RENAMED = {
    r"^x_embed": "position.column",
    r"^y_embed": "position.row",
    r"^conv0\.branch1": "vision.enhance.plain",
    r"^conv0\.branch2\.0\.conv": "vision.enhance.difference.0",
    r"^conv0\.branch2": "vision.enhance.difference",
    r"^conv0\.branch_last": "vision.enhance.mix",
    r"^layer4": "vision.tiles.encoder.conv",
    r"^layer5": "deepen",
    r"^down4": "refine.0",
    r"^down5": "refine.1",
    r"^down6": "refine.2",
    r"\.channel_attention\.shared_MLP": ".channels",
    r"\.spatial_attention\.conv2d": ".places",
    r"^ViT1": "transformers.0.blocks",
    r"^ViT2": "transformers.1.blocks",
    r"^ViT3": "transformers.2.blocks",
    r"\.attn\.norm": ".attention.norm",
    r"\.attn\.fn\.to_": ".attention.",
    r"\.ff\.norm": ".mlp.0",
    r"\.ff\.fn\.net\.0": ".mlp.1",
    r"\.ff\.fn\.net\.3": ".mlp.4",
    r"^jknet\.0": "lstm",
    r"^hgnn": "hypergraph",
    r"^gene_head": "expression",
    r"^mean\.0": "likelihood.mean",
    r"^disp\.0": "likelihood.dispersion",
    r"^pi\.0": "likelihood.dropout",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return recorded("hggep")


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    return to_data(section, list(section.adata.var_names), patch_size=P, k=6)


def build(data: SectionData, **options: Any) -> HGGEP:
    torch.manual_seed(0)
    return HGGEP(data.y.shape[1], patch_size=P, **{**SMALL, **options})


def renamed(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """The recorded weights under this model's names; the difference convolution's lack the axis of length 1."""
    state = {}
    for name, value in renamed_weights(golden, RENAMED):
        state[name] = value[:, :, 0] if name == "vision.enhance.difference.0.weight" else value
    return state


def test_outputs_of_the_program_are_reproduced(golden: dict[str, Tensor]) -> None:
    model = HGGEP(6, patch_size=P, n_pos=8, **{**SMALL, "vision": Convolution, "vision_kwargs": None}).eval()
    missing, unexpected = model.load_state_dict(renamed(golden), strict=False)
    assert unexpected == []
    assert set(missing) == {"pixel_mean", "pixel_std", "target_mean", "target_std"}
    target, source = golden["in.adjacency"].nonzero().T
    x = golden["in.patches"]
    data = SectionData(x=x, grid=golden["in.grid"], edge_index=torch.stack([source, target]), num_nodes=len(x))
    joined: list[Tensor] = []
    model.hypergraph.conv1.register_forward_pre_hook(lambda layer, inputs: joined.append(inputs[1]))
    with torch.no_grad():
        out = model(data)
    # The program finds the hyperedges of a spot by the largest of adjacency and distance, both normalized.
    assert set(zip(*joined[0].tolist(), strict=True)) == set(zip(*golden["out.joins"].tolist(), strict=True))
    for name in ("expression", "embedding", "mean", "dispersion", "dropout"):
        scale = float(golden[f"out.{name}"].abs().max())
        torch.testing.assert_close(out[name], golden[f"out.{name}"], rtol=0, atol=1e-5 * max(scale, 1.0), msg=name)


def test_output_and_gradients(data: SectionData) -> None:
    model = build(data, n_views=2)
    data = data.clone()
    out = model(data)
    assert out["expression"].shape == data.y.shape
    assert out["embedding"].shape == (12, 32)
    loss = losses.expression_error(out, data) + losses.negative_log_likelihood(out, data)
    (loss + losses.distillation_error(model.distil([data, data]), out, data)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_without_enhancement_a_stage_may_take_what_it_wants(data: SectionData) -> None:
    embedded = data.clone()
    embedded.x = torch.randn(12, 10)
    kwargs = {"embedding_channels": 10, "out_channels": 16}
    model = build(data, vision="precomputed", vision_kwargs=kwargs, enhance=False)
    assert model(embedded)["expression"].shape == data.y.shape
    model = build(data, vision="color_texture", vision_kwargs={"out_channels": 16}, enhance=False)
    assert model(data)["expression"].shape == data.y.shape
    assert model.vision.takes == "pixels"  # statistics of tiles, not of the patch


def test_fields_of_view_are_encoded_side_by_side(cohort: list[Section]) -> None:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    data = to_data(section, list(section.adata.var_names), patch_size=P, scales=(1.0, 2.0))
    model = build(data, n_scales=2)
    assert model.vision.out_channels == 2 * 16 * 16
    assert model(data)["expression"].shape == data.y.shape


def test_known_features_are_not_computed_again(data: SectionData) -> None:
    model = build(data, attention="local").eval()
    with torch.no_grad():
        features = model.features(data)
        without = data.clone()
        without.x = None
        assert torch.equal(model(without, features)["expression"], model(data)["expression"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 24}, r"channels=24 is not a multiple of the 16 tiles of a patch"),
        ({"transformer_layers": -1}, r"transformer_layers must be at least 0, got -1"),
        ({"hyperedges": 0}, r"hyperedges must be at least 1, got 0"),
        ({"lstm_layers": 0}, r"lstm_layers must be at least 1, got 0"),
        ({"tiles": 9}, r"A patch of 8 pixels has 1 to 8 tiles along a side, got 9"),
        (
            {"vision": "color_texture", "vision_kwargs": None},
            r"takes normalized patches, not pixels; set enhance=False \(model\.enhance\)",
        ),
    ],
)
def test_what_cannot_be_built_is_told(data: SectionData, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(data, **options)
