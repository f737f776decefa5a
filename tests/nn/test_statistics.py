from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hist2st_pyg.nn import PatchStatistics, StatisticsEncoder


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


def test_the_encoder_standardises_by_all_training_patches() -> None:
    torch.manual_seed(0)
    encoder, sections = StatisticsEncoder(), [patches(40, 8), patches(60, 8).flip(0) // 2]
    for section in sections:
        encoder(section)
    rows = [encoder.statistics(section) for section in sections]
    mean, var = torch.stack([r.mean(0) for r in rows]).mean(0), torch.stack([r.var(0) for r in rows]).mean(0)
    encoder.eval()
    torch.testing.assert_close(encoder.standardise(rows[0]), (rows[0] - mean) / var.sqrt(), rtol=1e-3, atol=1e-3)
    assert encoder(sections[0]).shape == (40, 128)
    assert {name for name, _ in encoder.named_parameters()} == {
        f"project.{i}.{w}" for i in (0, 1) for w in ("weight", "bias")
    }


@pytest.mark.parametrize("shape", [(2, 6, 8, 8), (2, 3, 2, 2)])
def test_what_is_not_a_patch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"patches \[N, 3, P, P\] with P at least 3, got \[2, "):
        PatchStatistics()(torch.zeros(shape))
