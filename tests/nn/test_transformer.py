from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf, softmax

from hist2st_pyg.nn import POSITIONS, SpotTransformer

C, N = 16, 12
Floats = NDArray[np.float64]


def spots(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(N, C))).float()
    return x, torch.from_numpy(np.stack([np.arange(N) % 4, np.arange(N) // 4], 1))


def build(seed: int = 0, position: str = "table", num_layers: int = 2, n_pos: int = 8) -> SpotTransformer:
    torch.manual_seed(seed)
    transformer = SpotTransformer(
        C, num_layers, heads=2, dim_head=6, mlp_channels=24, dropout=0.3, position=position, n_pos=n_pos
    )
    return transformer.eval()


def layer_norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    centered = x - x.mean(1, keepdims=True)
    scaled: Floats = centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5) * weight + bias
    return scaled


def reference(transformer: SpotTransformer, x: Floats, grid: NDArray[np.int64], ptr: list[int]) -> Floats:
    """The stage, spelled out."""
    w = {name: value.double().numpy() for name, value in transformer.state_dict().items()}
    x = x + w["position.column.weight"][grid[:, 0]] + w["position.row.weight"][grid[:, 1]]
    for b in range(len(transformer.blocks)):
        p = f"blocks.{b}."
        q, k, v = np.split(
            layer_norm(x, w[p + "attention.norm.weight"], w[p + "attention.norm.bias"])
            @ w[p + "attention.qkv.weight"].T,
            3,
            axis=1,
        )
        attended = np.zeros_like(q)
        for start, end in itertools.pairwise(ptr):
            for head in range(2):
                part = np.s_[start:end, 6 * head : 6 * head + 6]
                attended[part] = softmax(q[part] @ k[part].T / np.sqrt(6), axis=1) @ v[part]
        x = x + attended @ w[p + "attention.out.0.weight"].T + w[p + "attention.out.0.bias"]
        h = layer_norm(x, w[p + "mlp.0.weight"], w[p + "mlp.0.bias"]) @ w[p + "mlp.1.weight"].T + w[p + "mlp.1.bias"]
        h = 0.5 * h * (1 + erf(h / np.sqrt(2)))
        x = x + h @ w[p + "mlp.4.weight"].T + w[p + "mlp.4.bias"]
    return x


@pytest.mark.parametrize("ptr", [[0, N], [0, 5, N], [0, 1, 4, N]])
def test_blocks_are_pre_norm_softmax_attention_within_each_section(ptr: list[int]) -> None:
    x, grid = spots()
    transformer = build()
    expected = reference(transformer, x.double().numpy(), grid.numpy(), ptr)
    np.testing.assert_allclose(transformer(x, grid, ptr).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_sections_in_a_batch_are_as_if_alone() -> None:
    x, grid = spots()
    transformer = build()
    together = transformer(x, grid, [0, 5, N])
    alone = torch.cat([transformer(x[:5], grid[:5], [0, 5]), transformer(x[5:], grid[5:], [0, 7])])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert (together - transformer(x, grid, [0, N])).abs().max() > 1e-3  # as one section they do attend


@pytest.mark.parametrize("key", sorted(POSITIONS))
def test_every_position_has_shape_gradients_and_no_order(key: str) -> None:
    x, grid = spots()
    transformer = build(position=key)
    out = transformer(x, grid, [0, N])
    assert out.shape == (N, C)
    (out * torch.randn(N, C)).sum().backward()
    for name, parameter in transformer.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(transformer(x[order], grid[order], [0, N]), out[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", sorted(POSITIONS))
def test_the_position_matters_unless_there_is_none(key: str) -> None:
    x, grid = spots()
    transformer = build(position=key, num_layers=0)
    moved = (transformer(x, grid, [0, N]) - transformer(x, grid.flip(1), [0, N])).abs().amax(1) > 1e-6
    off_diagonal = grid[:, 0] != grid[:, 1]  # exchanging column and row moves all others
    assert torch.equal(moved, off_diagonal if key != "none" else torch.zeros(N, dtype=torch.bool))


def test_without_layers_only_the_position_is_added() -> None:
    x, grid = spots()
    table = build(num_layers=0)
    column, row = table.position.column.weight, table.position.row.weight
    torch.testing.assert_close(table(x, grid, [0, N]) - x, column[grid[:, 0]] + row[grid[:, 1]])
    assert torch.equal(build(position="none", num_layers=0)(x, grid, [0, N]), x)


@pytest.mark.parametrize(("place", "needed"), [((8, 0), 9), ((0, 70), 71)])
def test_a_place_outside_the_table_says_how_to_enlarge_it(place: tuple[int, int], needed: int) -> None:
    x, grid = spots()
    grid[3] = torch.tensor(place)
    message = rf"position {max(place)} is outside the position table \(0 to 7\).*n_pos={needed} or more.*fourier"
    with pytest.raises(ValueError, match=message):
        build()(x, grid, [0, N])


def test_a_negative_place_is_refused() -> None:
    x, grid = spots()
    grid[3, 1] = -2
    with pytest.raises(ValueError, match="Array positions must be 0 or more, got -2"):
        build()(x, grid, [0, N])


def test_fourier_has_no_largest_place() -> None:
    transformer = build(position="fourier", num_layers=0)
    grid = torch.cartesian_prod(torch.arange(0, 200, 13), torch.arange(0, 100, 17))
    embedded = transformer(torch.zeros(len(grid), C), grid, [0, len(grid)])
    assert torch.isfinite(embedded).all()
    distance = torch.cdist(embedded, embedded) + torch.eye(len(grid))
    assert distance.min() > 1e-4  # every place has an embedding of its own
    waves = 2 * np.pi / np.logspace(np.log10(2), np.log10(8), 8)  # from 2 array steps to n_pos
    phase = (grid.double().numpy()[:, :, None] * waves).reshape(len(grid), 16)
    project = transformer.position.project
    expected = np.hstack([np.sin(phase), np.cos(phase)]) @ project.weight.detach().double().numpy().T
    np.testing.assert_allclose(embedded.detach().numpy(), expected + project.bias.detach().numpy(), atol=1e-3)


def test_dropout_acts_in_training_alone() -> None:
    x, grid = spots()
    transformer = build()
    assert torch.equal(transformer(x, grid, [0, N]), transformer(x, grid, [0, N]))
    transformer.train()
    assert not torch.equal(transformer(x, grid, [0, N]), transformer(x, grid, [0, N]))


def test_an_unknown_position_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"Unknown position='sine'. Choose one of: fourier, none, table"):
        build(position="sine")
