from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hist2st_pyg.nn import ENCODERS, ConvMixer, MultiScale, TextureCNN, vision_resolver

P = 28
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
DINO = {"model_type": "dinov2", "mlp_ratio": 2, **VIT}
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"channels": (8, 8), "size": 14, "out_channels": 16},
    "convmixer": {"channels": 16, "depth": 1, "kernel_size": 3},
    "densenet121": {"weights": "random", "size": 32},
    "efficientnet_lite0": {"stages": 2, "weights": "random", "frozen": False},
    "hf": {"config": DINO, "size": 28, "frozen": False},
    "linear": {"out_channels": 16},
    "midnight": {"config": DINO, "size": 28, "frozen": False},
    "phikon": {"config": {"model_type": "vit", "intermediate_size": 32, **VIT}, "size": 28, "frozen": False},
    "phikon-v2": {"config": DINO, "size": 28, "frozen": False},
    "precomputed": {"embedding_channels": 10},
}
"""Arguments that make an encoder small; an encoder not named here is built with its defaults."""


def patches(n: int = 4, channels: int = 3, side: int = P) -> Tensor:
    return torch.randint(256, (n, channels, side, side), generator=torch.Generator().manual_seed(0)).float()


def inputs(encoder: nn.Module, n_scales: int = 1) -> Tensor:
    """What an encoder takes, for 4 spots."""
    x = patches(channels=3 * n_scales)
    takes = getattr(encoder, "takes", "normalized")
    if takes == "embeddings":
        return torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    return x if takes in ("pixels", "statistics") else (x - 128) / 74


def build(key: str, n_scales: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return vision_resolver(key, P, n_scales, **SMALL.get(key, {}))


@pytest.mark.parametrize("n_scales", [1, 2])
@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_shape_and_a_gradient_for_every_parameter(key: str, n_scales: int) -> None:
    if key == "precomputed" and n_scales > 1:
        with pytest.raises(ValueError, match=r"must take patches scaled alike, got \['embeddings'\]"):
            build(key, n_scales)
        return
    encoder = build(key, n_scales)
    out = encoder(inputs(encoder, n_scales))
    assert out.shape == (4, encoder.out_channels)
    assert torch.isfinite(out).all()
    (out * torch.randn(out.shape)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_each_spot_is_encoded_alone(key: str) -> None:
    encoder = build(key).eval()
    x = inputs(encoder)
    together = encoder(x)
    alone = torch.cat([encoder(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_a_flat_patch_has_finite_gradients(key: str) -> None:
    encoder = build(key).eval()
    x = torch.full_like(inputs(encoder), 255.0).requires_grad_()
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_weights_come_back(key: str) -> None:
    first = build(key).eval()
    second, x = vision_resolver(key, P, **SMALL.get(key, {})).eval(), inputs(first)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_arguments_build_the_encoder_again_and_its_origin_stays(key: str) -> None:
    first = build(key).eval()
    arguments = getattr(first, "arguments", SMALL.get(key, {}))
    again = json.loads(json.dumps(arguments))  # as a saved model's configuration holds them
    second, x = vision_resolver(key, P, **again).eval(), inputs(first)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))
    assert getattr(second, "arguments", SMALL.get(key, {})) == arguments
    assert getattr(second, "origin", "random") == getattr(first, "origin", "random") == "random"


@pytest.mark.parametrize(
    "key", [key for key in sorted(ENCODERS) if getattr(build(key), "takes", "") in ("pixels", "statistics")]
)
def test_pixels_may_be_bytes(key: str) -> None:
    encoder, x = build(key).eval(), patches()
    torch.testing.assert_close(encoder(x.to(torch.uint8)), encoder(x))


def test_each_scale_has_an_encoder_of_its_own() -> None:
    torch.manual_seed(0)
    small, large = ConvMixer(3, P, channels=8, depth=1), TextureCNN(3, P, **SMALL["cnn"])
    both, x = MultiScale([small, large]).eval(), patches(channels=6)
    assert both.out_channels == small.out_channels + large.out_channels == 32
    torch.testing.assert_close(both(x), torch.cat([small(x[:, :3]), large(x[:, 3:])], dim=1))
    resolved = vision_resolver("convmixer", P, 2, **SMALL["convmixer"])
    assert isinstance(resolved, MultiScale)
    first, second = resolved.encoders
    assert not torch.equal(first.patch_embedding.weight, second.patch_embedding.weight)


def test_scales_take_the_same() -> None:
    assert build("color_texture", 2).takes == "statistics"
    assert build("cnn", 2).takes == "normalized"
    with pytest.raises(ValueError, match=r"got \['normalized', 'statistics'\]"):
        MultiScale([build("cnn"), build("color_texture")])


class _Mean(nn.Module):
    """The mean color."""

    def __init__(self, in_channels: int, patch_size: int) -> None:
        super().__init__()
        self.made_for = (in_channels, patch_size)
        self.out_channels = in_channels

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_a_class_or_a_factory_makes_the_encoder() -> None:
    for vision in (_Mean, lambda in_channels, patch_size: _Mean(in_channels, patch_size)):
        encoder = vision_resolver(vision, P)
        assert isinstance(encoder, _Mean)
        assert encoder.made_for == (3, P)
    assert vision_resolver(_Mean, P, n_scales=3)(patches(channels=9)).shape == (4, 9)


def test_what_cannot_be_an_encoder_is_refused() -> None:
    with pytest.raises(TypeError, match=r"vision=_Mean\(...\) is an instance; pass its class"):
        vision_resolver(_Mean(3, P), P)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="The encoder Flatten must have an integer attribute out_channels"):
        vision_resolver(lambda in_channels, patch_size: nn.Flatten(), P)
    with pytest.raises(ValueError, match=r"Unknown vision='resnet'. Choose one of: cnn, color_texture, convmixer, "):
        vision_resolver("resnet", P)


@pytest.mark.parametrize("n_scales", [1, 2, 3])
def test_the_first_fields_of_view_alone_are_seen(n_scales: int) -> None:
    torch.manual_seed(0)
    encoder = vision_resolver("cnn", P, n_scales, 2, **SMALL["cnn"]).eval()
    x = patches(channels=3 * n_scales)
    seen = min(n_scales, 2)
    assert encoder.out_channels == seen * SMALL["cnn"]["out_channels"]
    other = torch.cat([x[:, : 3 * seen], torch.zeros_like(x[:, 3 * seen :])], dim=1)
    torch.testing.assert_close(encoder(other), encoder(x))
    assert not torch.equal(encoder(other.flip(1)), encoder(x))
