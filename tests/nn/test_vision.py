from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.nn import ENCODERS, ConvMixer, MultiScale, TextureCNN, vision_resolver

P = 28
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"channels": (8, 8), "size": 14, "out_channels": 16},
    "convmixer": {"channels": 16, "depth": 1, "kernel_size": 3},
}
"""Arguments that make an encoder small; an encoder not named here is built with its defaults."""


def patches(n: int = 4, channels: int = 3, side: int = P) -> Tensor:
    return torch.randint(256, (n, channels, side, side), generator=torch.Generator().manual_seed(0)).float()


def build(key: str, n_scales: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return vision_resolver(key, P, n_scales, **SMALL.get(key, {}))


@pytest.mark.parametrize("key", sorted(ENCODERS))
@pytest.mark.parametrize("n_scales", [1, 2])
def test_shape_and_a_gradient_for_every_parameter(key: str, n_scales: int) -> None:
    encoder = build(key, n_scales)
    out = encoder(patches(channels=3 * n_scales))
    assert out.shape == (4, encoder.out_channels)
    assert torch.isfinite(out).all()
    (out * torch.randn(out.shape)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_each_spot_is_encoded_alone(key: str) -> None:
    encoder, x = build(key).eval(), patches()
    together = encoder(x)
    alone = torch.cat([encoder(x[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_a_flat_patch_has_finite_gradients(key: str) -> None:
    x = torch.full((2, 3, P, P), 255.0, requires_grad=True)
    build(key).eval()(x).square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("key", sorted(ENCODERS))
def test_weights_come_back(key: str) -> None:
    first, second, x = build(key).eval(), vision_resolver(key, P, **SMALL.get(key, {})).eval(), patches()
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize(
    ("patch_size", "stride", "channels", "width"), [(112, 7, 32, 1024), (28, 7, 16, 32), (24, 8, 8, 9)]
)
def test_the_width_of_the_convmixer(patch_size: int, stride: int, channels: int, width: int) -> None:
    encoder = ConvMixer(3, patch_size, channels=channels, stride=stride, depth=1)
    assert encoder.out_channels == width
    assert encoder.eval()(patches(1, side=patch_size)).shape == (1, width)


def test_the_convmixer_by_formula() -> None:
    torch.manual_seed(0)
    encoder = ConvMixer(3, P, channels=8, depth=2, kernel_size=3).eval()
    x = patches() / 255
    h = F.conv2d(x, encoder.patch_embedding.weight, encoder.patch_embedding.bias, stride=7)
    for block in encoder.blocks:
        first, first_norm, _, second, second_norm, _ = block.depthwise
        mixed = F.gelu(first_norm(F.conv2d(h, first.weight, first.bias, padding=1, groups=8)))
        mixed = F.gelu(second_norm(F.conv2d(mixed, second.weight, second.bias, padding=1, groups=8)))
        point, _, norm = block.pointwise
        h = norm(F.gelu(torch.einsum("oi,nihw->nohw", point.weight[:, :, 0, 0], h + mixed) + point.bias[:, None, None]))
    expected = torch.einsum("oi,nihw->nohw", encoder.down.weight[:, :, 0, 0], h) + encoder.down.bias[:, None, None]
    torch.testing.assert_close(encoder(x), expected.flatten(1), rtol=1e-4, atol=1e-5)


def test_the_convmixer_refuses_what_does_not_divide() -> None:
    with pytest.raises(ValueError, match="stride=7 does not divide patch_size=30"):
        ConvMixer(3, 30)
    with pytest.raises(ValueError, match="channels=12 is not a multiple of 8"):
        ConvMixer(3, P, channels=12)


def test_the_cnn_averages_large_patches_down() -> None:
    torch.manual_seed(0)
    encoder = TextureCNN(3, P, **SMALL["cnn"]).eval()
    x = patches()
    torch.testing.assert_close(encoder(x), encoder(F.avg_pool2d(x, 2)))
    assert encoder.size == 14
    assert TextureCNN(3, 7, size=56).size == 7


def test_the_cnn_sees_colour_and_texture() -> None:
    torch.manual_seed(0)
    encoder = TextureCNN(3, 14, **SMALL["cnn"]).eval()
    flat = torch.full((1, 3, 14, 14), 100.0)
    checked = flat + 50 * (2 * (torch.arange(14)[:, None] + torch.arange(14)) % 2 * 2 - 1)
    red = flat * torch.tensor([1.5, 1.0, 1.0])[:, None, None]
    for other in (checked, red):
        assert (encoder(flat) - encoder(other)).abs().max() > 1e-3


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


class _Mean(nn.Module):
    """The mean colour."""

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
    with pytest.raises(TypeError, match=r"vision=_Mean\(...\) is an instance; give its class"):
        vision_resolver(_Mean(3, P), P)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="The encoder Flatten needs an integer attribute out_channels"):
        vision_resolver(lambda in_channels, patch_size: nn.Flatten(), P)
    with pytest.raises(ValueError, match=r"Unknown vision='resnet'. Choose one of: cnn, convmixer"):
        vision_resolver("resnet", P)
