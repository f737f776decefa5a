"""Attention of windows, against a dense mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from hist2st_pyg.nn import ATTENTIONS, SpotTransformer, attention

HEADS, WIDTH = 2, 5


def spots(sizes: tuple[int, ...] = (40, 1, 25), seed: int = 0) -> tuple[Tensor, list[int]]:
    """Array places, some of them far away, of sections, in no order."""
    rng = np.random.default_rng(seed)
    places = [rng.choice(20 * 14, size, replace=False) for size in sizes]
    grid = np.concatenate([np.stack([each % 20, each // 20], 1) + 30 * (each[:, None] > 250) for each in places])
    return torch.from_numpy(grid), np.cumsum([0, *sizes]).tolist()


def drawn(n: int, seed: int = 1) -> list[Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(HEADS, n, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def dense(q: Tensor, k: Tensor, v: Tensor, grid: Tensor, ptr: list[int], window: int) -> np.ndarray:
    """Every pair of spots, those too far masked."""
    cell, section = grid.numpy() // window, np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    near = (np.abs(cell[:, None] - cell[None]) <= 1).all(2) & (section[:, None] == section)
    q_, k_, v_ = (x.detach().numpy() for x in (q, k, v))
    scores = q_ @ k_.transpose(0, 2, 1) / np.sqrt(WIDTH)
    attended: np.ndarray = softmax(np.where(near, scores, -np.inf), axis=2) @ v_
    return attended


@pytest.mark.parametrize("values", [1, 2000, 2**24])
@pytest.mark.parametrize("window", [1, 3, 8, 100])
def test_a_spot_attends_to_its_window_and_those_around(
    window: int, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "CHUNK_VALUES", values)
    grid, ptr = spots()
    q, k, v = drawn(len(grid))
    got = ATTENTIONS["local"](grid, ptr, window)(q, k, v)
    np.testing.assert_allclose(got.detach(), dense(q, k, v, grid, ptr, window), rtol=1e-10)


def test_a_window_over_the_section_is_full_attention_with_its_gradient() -> None:
    grid, ptr = spots()
    found = []
    for kind, window in (("full", 1), ("local", 100)):
        inputs = drawn(len(grid))
        out = ATTENTIONS[kind](grid, ptr, window)(*inputs)
        out.square().sum().backward()
        found.append([out, *(x.grad for x in inputs)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, ptr = spots()
    found = []
    for values in (2**24, 1):
        monkeypatch.setattr(attention, "CHUNK_VALUES", values)
        inputs = drawn(len(grid))
        ATTENTIONS["local"](grid, ptr, 4)(*inputs).square().sum().backward()
        found.append([x.grad for x in inputs])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_no_key_is_copied_beyond_those_around() -> None:
    grid = torch.cartesian_prod(torch.arange(40), torch.arange(40))
    windows = attention.Windows.of(grid, [0, len(grid)], 8)
    ((rows, keys),) = windows.chunks(2**24)
    assert list(rows.shape) == [25, 64]
    assert list(keys.shape) == [25, 9 * 64]
    assert int((keys >= 0).sum()) == (3 * 5 - 2) ** 2 * 64


def test_a_part_of_a_section_with_its_surroundings_is_as_in_the_whole() -> None:
    """Two layers of windows of 3 steps read two windows to each side."""
    torch.manual_seed(0)
    stage = SpotTransformer(16, 2, heads=2, dim_head=8, attention="local", window=3).eval()
    grid = torch.cartesian_prod(torch.arange(24), torch.arange(20))
    x = torch.randn(len(grid), 16)
    near = (grid[:, 0] >= 3) & (grid[:, 0] < 18)
    own = (grid[near][:, 0] >= 9) & (grid[near][:, 0] < 12)
    whole = stage(x, grid, [0, len(grid)])[near]
    part = stage(x[near], grid[near], [0, int(near.sum())])
    torch.testing.assert_close(part[own], whole[own], rtol=1e-5, atol=1e-5)
    assert (part - whole)[~own].abs().max() > 1e-3


def test_what_is_wrong_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attention_window must be at least 1 array step, got 0\."):
        SpotTransformer(8, 1, attention="local", window=0)
    with pytest.raises(ValueError, match=r"Unknown attention='sparse'\. Choose one of: full, local"):
        SpotTransformer(8, 1, attention="sparse")
    assert SpotTransformer(8, 0, attention="local").attends is None
    assert SpotTransformer(8, 1, attention="local").attends == "local"
