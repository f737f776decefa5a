from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hist2st_pyg.nn import PatchStatistics, StatisticsEncoder
from hist2st_pyg.nn.augment import symmetries
from hist2st_pyg.nn.statistics import contrasts, patch_statistics, recolored


def patches(n: int = 5, side: int = 112) -> Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_numpy(patch: np.ndarray) -> list[float]:
    """The 27 statistics of one patch [3, P, P] that is already small enough."""
    values = []
    for channel in patch.astype(np.float64) / 255:
        down, across = (gradient[1:-1, 1:-1] for gradient in np.gradient(channel))
        steepness = np.hypot(down, across)
        values += [channel.mean(), channel.std(), *np.quantile(channel, [0.1, 0.25, 0.5, 0.75, 0.9])]
        values += [steepness.mean(), steepness.std()]
    return values


@pytest.mark.parametrize("side", [3, 8, 56])
def test_the_statistics_by_numpy(side: int) -> None:
    x = patches(side=side)
    expected = np.array([by_numpy(patch) for patch in x.numpy()])
    got = PatchStatistics()(x)
    assert got.shape == (5, PatchStatistics.out_channels)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    np.testing.assert_allclose(PatchStatistics()(x.float().requires_grad_()).detach(), expected, atol=2e-6)


def test_large_patches_are_averaged_down() -> None:
    x = patches()
    torch.testing.assert_close(PatchStatistics()(x), PatchStatistics()(F.avg_pool2d(x.float(), 2)))
    assert (PatchStatistics(size=112)(x) - PatchStatistics()(x)).abs().max() > 0.01


def test_the_gradient_is_that_of_the_formula() -> None:
    x = 255 * torch.rand(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(PatchStatistics(), (x.requires_grad_(),), eps=1e-3, atol=1e-7)


def test_a_flat_patch_has_no_texture_and_a_finite_gradient() -> None:
    x = torch.full((1, 3, 8, 8), 51.0, requires_grad=True)
    out = PatchStatistics()(x)
    expected = [0.2, 0, *[0.2] * 5, 0, 0] * 3
    torch.testing.assert_close(out, torch.tensor([expected]), atol=2e-6, rtol=0)
    out.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_the_encoder_standardizes_by_all_training_patches() -> None:
    torch.manual_seed(0)
    encoder, sections = StatisticsEncoder(), [patches(40, 8), patches(60, 8).flip(0) // 2]
    for section in sections:
        encoder(section)
    rows = [encoder.statistics(section) for section in sections]
    mean, var = torch.stack([r.mean(0) for r in rows]).mean(0), torch.stack([r.var(0) for r in rows]).mean(0)
    encoder.eval()
    torch.testing.assert_close(encoder.standardize(rows[0]), (rows[0] - mean) / var.sqrt(), rtol=1e-3, atol=1e-3)
    assert encoder(sections[0]).shape == (40, 128)
    assert {name for name, _ in encoder.named_parameters()} == {
        f"project.{i}.{w}" for i in (0, 1) for w in ("weight", "bias")
    }


def batches() -> list[Tensor]:
    """Batches of patches that differ in color and in number."""
    return [patches(n, 8).flip(i % 4) // (i + 1) for i, n in enumerate((40, 25, 60))]


def test_training_is_shown_the_running_averages() -> None:
    torch.manual_seed(0)
    encoder = StatisticsEncoder(dropout=0.0).train()
    seen: list[Tensor] = []
    encoder.project[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    means, variances = [], []
    for step, x in enumerate(batches()):
        encoder(x)
        rows = encoder.statistics(x).double().numpy()
        means.append(rows.mean(0))
        variances.append(rows.var(0, ddof=1))
        mean, variance = np.mean(means, axis=0), np.mean(variances, axis=0)
        np.testing.assert_allclose(encoder.standardize.running_mean, mean, rtol=1e-4)
        np.testing.assert_allclose(encoder.standardize.running_var, variance, rtol=1e-3)
        np.testing.assert_allclose(seen[step], (rows - mean) / np.sqrt(variance + 1e-8), atol=2e-2, rtol=1e-3)
        assert int(encoder.standardize.num_batches_tracked) == step + 1
    # So that a dark batch is seen to be dark: its own averages would have put it at 0.
    np.testing.assert_allclose(seen[0].mean(0), 0, atol=1e-2)
    assert float(seen[2][:, 0].mean()) < -1


def test_training_and_prediction_encode_alike() -> None:
    torch.manual_seed(0)
    encoder = StatisticsEncoder(dropout=0.0).train()
    for x in batches():
        last = encoder(x)
    torch.testing.assert_close(encoder.eval()(x), last)


def test_prediction_moves_nothing_and_each_patch_is_as_if_alone() -> None:
    torch.manual_seed(0)
    encoder = StatisticsEncoder().train()
    for x in batches():
        encoder(x)
    encoder.eval()
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    x = batches()[1]
    rows, bn = encoder.statistics(x), encoder.standardize
    expected = encoder.project(bn(rows))  # batch norm's own evaluation
    torch.testing.assert_close(encoder(x), expected)
    torch.testing.assert_close(torch.cat([encoder(patch[None]) for patch in x]), expected, rtol=1e-4, atol=1e-4)
    for name, buffer in encoder.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_in_training_a_patch_has_a_finite_gradient() -> None:
    torch.manual_seed(0)
    encoder = StatisticsEncoder(dropout=0.0).train()
    x = patches(6, 8).float().requires_grad_()
    encoder(x)[:, 0].sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.any()


@pytest.mark.parametrize("shape", [(2, 6, 8, 8), (2, 3, 2, 2)])
def test_what_is_not_a_patch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Patches must be \[N, 3, P, P\] with P at least 3, got \[2, "):
        PatchStatistics()(torch.zeros(shape))


# The statistics of a view, from those of its patches.


@pytest.mark.parametrize("gains", [(0.9, 1.2, 1.0), (-0.5, 1.0, -2.0)])
def test_recolored_statistics_are_those_of_recolored_patches(gains: tuple[float, ...]) -> None:
    x = torch.cat([patches(side=20), patches(side=20).flip(0)], dim=1)
    gain, offset = torch.tensor([gains]), torch.tensor([[0.1, -0.2, 0.0]])
    seen = x.float() * gain.repeat(1, 2)[..., None, None] + 255 * offset.repeat(1, 2)[..., None, None]
    found = recolored(patch_statistics(x), gain, offset)
    torch.testing.assert_close(found, patch_statistics(seen), rtol=1e-5, atol=1e-6)


def test_contrasts_take_the_next_field_s_mean_color_off_colors_alone() -> None:
    x = torch.cat([patches(side=20), patches(side=20).flip(0), patches(side=20) // 2], dim=1)
    statistics = patch_statistics(x)
    mean = torch.stack([(x[:, c].float() / 255).mean((1, 2)) for c in range(9)], dim=1)
    around = torch.cat([mean[:, 3:], torch.zeros(5, 3)], dim=1)
    of_color = torch.tensor([True, False, *[True] * 5, False, False])  # mean and quantiles; no deviation, no gradient
    expected = statistics - (around[:, :, None] * of_color).flatten(1)
    torch.testing.assert_close(contrasts(statistics), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(contrasts(statistics[:, -27:]), statistics[:, -27:])


@pytest.mark.parametrize("side", [20, 112])
def test_a_mirrored_or_turned_patch_has_the_same_statistics(side: int) -> None:
    x = patches(side=side)
    for view in symmetries(x):
        torch.testing.assert_close(patch_statistics(view), patch_statistics(x), rtol=1e-5, atol=1e-6)


def test_statistics_are_computed_a_few_patches_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x = patches(7, side=12)
    expected = patch_statistics(x)
    monkeypatch.setattr("hist2st_pyg.nn.statistics.BLOCK_PATCHES", 3)
    torch.testing.assert_close(patch_statistics(x), expected)
    torch.testing.assert_close(expected, PatchStatistics()(x))


def test_the_encoder_takes_statistics_in_place_of_patches() -> None:
    encoder = StatisticsEncoder(dropout=0.0).eval()
    x = patches(side=12)
    torch.testing.assert_close(encoder(patch_statistics(x)), encoder(x))
