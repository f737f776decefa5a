from __future__ import annotations

import weakref
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hist2st_pyg.nn.checkpointing import counted_once, in_chunks, measure_activations


class Net(nn.Module):
    """Convolutions and both batch norms; it notes how many rows each pass had."""

    def __init__(self, momentum: float | None) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU())
        self.row = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=momentum), nn.GELU())
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return self.row(self.image(x).mean((2, 3)))


def net(momentum: float | None = 0.1) -> Net:
    torch.manual_seed(0)
    return Net(momentum)


def patches(n: int) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("n", [7, 33])
def test_training_in_chunks_is_training_on_each_chunk(n: int, momentum: float | None) -> None:
    chunked, plain, x = net(momentum), net(momentum), patches(n)
    out = in_chunks(chunked, x, 8)
    expected = torch.cat([plain(chunk) for chunk in x.tensor_split(-(-n // 8))])
    assert torch.equal(out, expected)
    for result in (out, expected):
        result.square().sum().backward()
    for (name, parameter), other in zip(chunked.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)
    # Running means, variances and counts have moved once for each chunk, however often it was computed.
    for (name, buffer), other in zip(chunked.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other), name
    # Computed again for the gradient, but for a single chunk, which is held in any case.
    assert chunked.rows == plain.rows + (plain.rows[::-1] if n > 8 else [])
    assert [module.momentum for module in (chunked.image[1], chunked.row[1])] == [momentum, momentum]


def test_chunks_are_even_so_that_none_is_a_single_patch() -> None:
    model = net()
    in_chunks(model, patches(33), 32)
    assert model.rows == [17, 16]
    for n in range(2, 40):
        model.rows.clear()
        in_chunks(model, patches(n), 8)
        assert sum(model.rows) == n
        assert 2 <= min(model.rows) <= max(model.rows) <= 8


def test_outside_training_chunks_change_nothing_and_keep_the_gradient() -> None:
    model, x = net().eval(), patches(9).requires_grad_()
    torch.testing.assert_close(in_chunks(model, x, 4), model(x))
    model.rows.clear()
    (grad,) = torch.autograd.grad(in_chunks(model, x, 4).sum(), x)
    assert model.rows == [3, 3, 3]  # nothing is computed twice
    torch.testing.assert_close(grad, torch.autograd.grad(model(x).sum(), x)[0])
    assert in_chunks(model, x[:0], 4).shape == (0, 5)


def test_without_a_gradient_nothing_is_computed_twice() -> None:
    model = net()
    with torch.no_grad():
        assert not in_chunks(model, patches(6), 3).requires_grad
    assert model.rows == [3, 3]
    assert int(model.row[1].num_batches_tracked) == 2


def test_chunks_inside_another_checkpoint_count_once() -> None:
    nested, plain, x = net(), net(), patches(12)
    contexts = partial(counted_once, nested)
    out = checkpoint(in_chunks, nested, x, 4, use_reentrant=False, context_fn=contexts)
    out.square().sum().backward()
    torch.cat([plain(chunk) for chunk in x.tensor_split(3)]).square().sum().backward()
    for (name, parameter), other in zip(nested.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)
    for (name, buffer), other in zip(nested.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other), name


def test_dropout_is_the_same_in_both_passes() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Dropout(0.5))
    x = torch.ones(6, 4)
    out = in_chunks(model, x, 3)
    out.sum().backward()
    kept = (out != 0).float()
    torch.testing.assert_close(model[0].weight.grad, 2 * kept.T @ x)


def test_only_the_patches_are_kept_for_the_gradient() -> None:
    model, x, kept = net(), patches(32), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
        in_chunks(model, x, 8)
    assert sum(kept) == x.numel()


def test_a_chunk_has_at_least_one_patch() -> None:
    with pytest.raises(ValueError, match="chunk must be 1 patch or more, got 0"):
        in_chunks(net(), patches(2), 0)


def test_activations_are_measured_once_and_without_weights() -> None:
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(10, 8)
    with measure_activations(model) as found:
        out = model(x) + model(x)
    # The input, which both share, and what each makes of it: ReLU keeps its output, which the next layer reads.
    assert found.size == 4 * 10 * (8 + 2 * 16)
    expected = torch.autograd.grad(model(x).sum() * 2, list(model.parameters()))
    for got, value in zip(torch.autograd.grad(out.sum(), list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(got, value)


def test_measuring_keeps_nothing_alive() -> None:
    model = nn.Linear(4, 4)
    with measure_activations(model):
        out = model(torch.randn(3, 4)).exp()
    alive = weakref.ref(out)
    del out
    assert alive() is None
