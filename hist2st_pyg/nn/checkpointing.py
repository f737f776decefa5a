"""Less memory in training: activations are computed again for the gradient instead of kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


Averages = list[tuple[Tensor | None, Tensor | None]]


def once_counted(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a checkpoint's two passes: the second sees batch norm's running averages as the first left them.

    It does not move them again, and is not shown what later passes have made of them.

    Args:
        module: What the checkpoint runs.
    """
    averages: Averages = []
    return _remembered(module, averages), _still(module, averages)


@contextmanager
def _remembered(module: nn.Module, averages: Averages) -> Iterator[None]:
    yield
    for norm in _norms(module):
        mean, var = norm.running_mean, norm.running_var
        averages.append((mean.clone() if mean is not None else None, var.clone() if var is not None else None))


@contextmanager
def _still(module: nn.Module, averages: Averages) -> Iterator[None]:
    norms = _norms(module)
    kept = [(norm.momentum, norm.num_batches_tracked, norm.running_mean, norm.running_var) for norm in norms]
    for norm, (mean, var) in zip(norms, averages, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, None  # it normalizes as before and moves nothing
        norm.running_mean, norm.running_var = mean, var
    try:
        yield
    finally:
        for norm, (momentum, count, mean, var) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
            norm.running_mean, norm.running_var = mean, var


def _norms(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]:
    return [norm for norm in module.modules() if isinstance(norm, BATCH_NORMS)]


def in_chunks(module: nn.Module, x: Tensor, size: int) -> Tensor:
    """``module(x)``, at most ``size`` rows at a time; in training only one chunk's activations are held at once.

    The chunks are even, so that none is left with a single row; batch norm takes its statistics from each chunk.

    Args:
        module: Maps [N, ...] to [N, C], each row alone (but for batch norm).
        x: The rows [N, ...].
        size: Most rows of a chunk.

    Raises:
        ValueError: If ``size`` is not positive.
    """
    if size < 1:
        raise ValueError(f"A chunk has at least 1 patch, got chunk={size}.")
    chunks = x.tensor_split(max(1, math.ceil(len(x) / size)))
    if len(chunks) == 1:  # whose activations are held at once in any case
        return module(x)  # type: ignore[no-any-return]
    if not (module.training and torch.is_grad_enabled()):
        return torch.cat([module(chunk) for chunk in chunks])
    contexts = partial(once_counted, module)
    return torch.cat([checkpoint(module, chunk, use_reentrant=False, context_fn=contexts) for chunk in chunks])
