"""What pixels add, against differences of whole predictions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hist2st_pyg import HisToGene
from hist2st_pyg.data import SectionData
from hist2st_pyg.explain import (
    explain_spot,
    explanation_figure,
)
from hist2st_pyg.explain.pixels import blurred
from hist2st_pyg.models import STNet
from hist2st_pyg.models.base import ExpressionModel
from tests._helpers.explained import GENES, SMALL, P, build, preprocessing, ready, views


@pytest.mark.parametrize("kind", ["stream", "attention", "stnet", "histogene"])
def test_pixels_add_up_to_the_difference_from_the_blurred_patch(data: SectionData, kind: str) -> None:
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
    found = explain_spot(model, data, 20, "GENE3", pixels=2, steps=128)
    assert len(found.pixels) == 1 + neighbor
    for pixels in found.pixels:
        changed = copy.copy(data)
        changed.x = data.x.float()
        changed.x[pixels.spot] = blurred(changed.x[pixels.spot])
        with torch.no_grad():
            reference = float(model(changed)["expression"][20, 2])
        assert pixels.reference == pytest.approx(reference, abs=1e-5)
        assert pixels.attribution.shape == (len(data.x[0]) // 3, P, P)
        difference = found.predicted - reference
        assert pixels.attribution.sum() == pytest.approx(difference, abs=0.05 * abs(difference) + 2e-4)
        patch = data.x[pixels.spot].reshape(-1, 3, P, P).permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(pixels.patch, patch)
        np.testing.assert_array_equal(pixels.importance, np.abs(pixels.attribution))


def test_the_blurred_patch_keeps_its_color_and_loses_its_structure() -> None:
    patch = torch.rand(6, 40, 40) * 255
    soft = blurred(patch)
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
def test_a_model_that_sees_a_corner(data: SectionData, transpose_patches: bool) -> None:
    model = ready(build(vision=Corner, vision_kwargs=None, gnn_residual=True), transpose_patches=transpose_patches)
    found = explain_spot(model, data, 20, "GENE3", pixels=2)
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
    with pytest.raises(ValueError, match="Blind has no gradient by the pixels; set pixels=0 to explain"):
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
