from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hist2st_pyg.nn import PatchAugmentation
from hist2st_pyg.nn.augment import symmetries

NOTHING: dict[str, Any] = {"grayscale": 0.0, "rotation": 0.0, "flip": 0.0}


def patches(n: int = 6, channels: int = 3, side: int = 14) -> Tensor:
    drawn = torch.randint(256, (n, channels, side, side), generator=torch.Generator().manual_seed(0))
    return drawn.to(torch.uint8)


def same(n: int, channels: int = 3, side: int = 14) -> Tensor:
    """The same patch n times."""
    return patches(1, channels, side).expand(n, -1, -1, -1)


def distinct(x: Tensor) -> int:
    return len(x.flatten(1).unique(dim=0))


def test_with_everything_off_only_the_type_changes() -> None:
    x = patches()
    out = PatchAugmentation(**NOTHING)(x)
    assert out.dtype == torch.float32
    assert torch.equal(out, x.float())


def test_the_patches_given_stay_as_they_are() -> None:
    x = patches().float()
    before = x.clone()
    torch.manual_seed(0)
    PatchAugmentation(1.0, 90, 1.0, 0.1, symmetries=True, per_spot=True)(x)
    assert torch.equal(x, before)


def test_symmetries_keep_every_pixel() -> None:
    x = patches()
    torch.manual_seed(0)
    out = PatchAugmentation(**NOTHING, symmetries=True, per_spot=True)(x)
    assert not torch.equal(out, x.float())
    assert torch.equal(out.flatten(2).sort().values, x.float().flatten(2).sort().values)
    # Red, green and blue of a pixel stay together.
    colors = [sorted(map(tuple, spot.flatten(1).T.tolist())) for spot in (x.float()[0], out[0])]
    assert colors[0] == colors[1]


def test_there_are_eight_symmetries() -> None:
    x = same(200)
    torch.manual_seed(0)
    out = PatchAugmentation(**NOTHING, symmetries=True, per_spot=True)(x)
    picture = x[0].float().numpy()
    turned = [np.rot90(p, k, (1, 2)) for k in range(4) for p in (picture, picture[:, ::-1])]
    assert {spot.numpy().tobytes() for spot in out} == {np.ascontiguousarray(t).tobytes() for t in turned}


def test_grayscale_puts_the_luma_in_all_channels_of_each_scale() -> None:
    x = patches(channels=6)
    out = PatchAugmentation(grayscale=1.0, rotation=0.0, flip=0.0)(x)
    for scale in (slice(0, 3), slice(3, 6)):
        red, green, blue = x[:, scale].double().unbind(1)
        luma = 0.2989 * red + 0.587 * green + 0.114 * blue
        for channel in out[:, scale].unbind(1):
            torch.testing.assert_close(channel.double(), luma, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("side", [14, 15])
@pytest.mark.parametrize(("drawn", "quarters"), [(1.0, 1), (0.0, -1)])
def test_a_quarter_turn_is_exact(monkeypatch: pytest.MonkeyPatch, side: int, drawn: float, quarters: int) -> None:
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: torch.full(size, drawn))
    x = patches(side=side)
    out = PatchAugmentation(grayscale=0.0, rotation=90.0, flip=0.0)(x)
    assert torch.equal(out, torch.rot90(x.float(), quarters, (2, 3)))


def test_corners_turn_black(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *size, device=None: torch.ones(size))
    out = PatchAugmentation(grayscale=0.0, rotation=45.0, flip=0.0)(torch.full((2, 3, 14, 14), 255.0))
    assert out[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert out[:, :, 7, 7].min() == 255
    # A square in its own circle keeps what is nearer to the center than half its side.
    y, x = torch.meshgrid(torch.arange(14) - 6.5, torch.arange(14) - 6.5, indexing="ij")
    assert (out[:, :, (x**2 + y**2).sqrt() < 6.5] == 255).all()


def test_the_angle_is_bounded_and_goes_both_ways() -> None:
    # The center of a bright spot at the right edge says how far the patch was turned.
    x = torch.zeros(300, 3, 41, 41)
    x[:, :, 18:23, 36:41] = 255
    torch.manual_seed(0)
    out = PatchAugmentation(grayscale=0.0, rotation=30.0, flip=0.0, per_spot=True)(x)[:, 0]
    steps = torch.arange(41.0) - 20
    mass = out.sum((1, 2))
    angle = torch.atan2((out.sum(2) * steps).sum(1) / mass, (out.sum(1) * steps).sum(1) / mass)
    assert float(angle.abs().max()) < math.radians(33)
    assert float(angle.max()) > math.radians(20)
    assert float(angle.min()) < -math.radians(20)


def test_flip_is_horizontal() -> None:
    x = patches()
    assert torch.equal(PatchAugmentation(grayscale=0.0, rotation=0.0, flip=1.0)(x), x.float().flip(3))


@pytest.mark.parametrize(
    "options",
    [
        {"grayscale": 0.5},
        {"rotation": 90.0},
        {"flip": 0.5},
        {"jitter": 0.1},
        {"symmetries": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_draws_are_for_the_call_or_for_each_spot(options: dict[str, Any]) -> None:
    x = same(40)
    torch.manual_seed(0)
    assert distinct(PatchAugmentation(**{**NOTHING, **options})(x)) == 1
    assert distinct(PatchAugmentation(**{**NOTHING, **options}, per_spot=True)(x)) > 1
    once = PatchAugmentation(**{**NOTHING, **options})
    assert distinct(torch.cat([once(x[:1]) for _ in range(40)])) > 1  # each call draws anew


def test_jitter_is_a_gain_and_an_offset_for_each_color_the_same_at_all_scales() -> None:
    x = patches(5, channels=6)
    torch.manual_seed(0)
    out = PatchAugmentation(**NOTHING, jitter=0.1, per_spot=True)(x)
    for spot in range(5):
        fits = [np.polyfit(x[spot, c].double().flatten(), out[spot, c].double().flatten(), 1) for c in range(6)]
        for c in range(6):
            expected = np.polyval(fits[c], x[spot, c].double())
            np.testing.assert_allclose(out[spot, c], expected, atol=1e-2)
        np.testing.assert_allclose(fits[:3], fits[3:], atol=1e-4)
        assert not np.allclose(fits[0], fits[1], atol=1e-3)


def test_jitter_has_the_given_deviation() -> None:
    x = torch.zeros(4000, 3, 1, 1)
    torch.manual_seed(0)
    out = PatchAugmentation(**NOTHING, jitter=0.1, per_spot=True)(x)  # black: the offset alone
    assert float(out.std()) == pytest.approx(25.5, rel=0.03)
    assert float(out.mean()) == pytest.approx(0.0, abs=1.0)


def test_both_scales_are_turned_alike() -> None:
    x = patches(5).repeat(1, 2, 1, 1)
    torch.manual_seed(0)
    out = PatchAugmentation(0.5, 90.0, 0.5, 0.1, symmetries=True, per_spot=True)(x)
    assert out.shape == x.shape
    torch.testing.assert_close(out[:, :3], out[:, 3:])


def test_a_seed_repeats_the_view() -> None:
    augment, x = PatchAugmentation(0.5, 90.0, 0.5, 0.1, symmetries=True, per_spot=True), patches()
    views = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        views.append(augment(x))
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


@pytest.mark.parametrize("per_spot", [True, False])
def test_a_view_is_its_symmetry_and_the_map_of_its_colors(per_spot: bool) -> None:
    x = patches(n=40, channels=6)
    augmentation = PatchAugmentation(grayscale=0, rotation=0, flip=0, symmetries=True, jitter=0.1, per_spot=per_spot)
    torch.manual_seed(3)
    view = augmentation.draw(x)
    assert view.gain is not None
    assert view.offset is not None
    gain, offset = (value.repeat(1, 2)[..., None, None] for value in (view.gain, 255 * view.offset))
    turned = (view.patches - offset) / gain
    for patch, found in zip(x.float(), turned, strict=True):
        distances = [float((found - candidate[0]).abs().max()) for candidate in symmetries(patch[None])]
        assert min(distances) < 1e-3
    torch.manual_seed(3)
    torch.testing.assert_close(augmentation(x), view.patches)


def test_what_keeps_the_statistics() -> None:
    none = {"grayscale": 0.0, "rotation": 0.0, "flip": 0.0}
    assert PatchAugmentation(**none, symmetries=True, jitter=0.1).keeps_statistics
    assert PatchAugmentation(**none | {"flip": 0.5}).keeps_statistics
    assert not PatchAugmentation(**none | {"grayscale": 0.1}).keeps_statistics
    assert not PatchAugmentation(**none | {"rotation": 1.0}).keeps_statistics
