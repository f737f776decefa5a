"""Save memory in training: recompute activations for the gradient instead of keeping them."""

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


def counted_once(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a checkpoint's two passes, so that batch norm's running averages are updated only once.

    The second pass uses the averages as the first one left them, and does not update them.

    Args:
        module: The module that the checkpoint runs.
    """
    averages: Averages = []
    return _recording_averages(module, averages), _without_updates(module, averages)


@contextmanager
def _recording_averages(module: nn.Module, averages: Averages) -> Iterator[None]:
    yield
    for norm in _norms(module):
        mean, var = norm.running_mean, norm.running_var
        averages.append((mean.clone() if mean is not None else None, var.clone() if var is not None else None))


@contextmanager
def _without_updates(module: nn.Module, averages: Averages) -> Iterator[None]:
    norms = _norms(module)
    kept = [(norm.momentum, norm.num_batches_tracked, norm.running_mean, norm.running_var) for norm in norms]
    for norm, (mean, var) in zip(norms, averages, strict=True):
        norm.momentum, norm.num_batches_tracked = 0.0, None  # normalize as before, update nothing
        norm.running_mean, norm.running_var = mean, var
    try:
        yield
    finally:
        for norm, (momentum, count, mean, var) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
            norm.running_mean, norm.running_var = mean, var


def _norms(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]:
    return [norm for norm in module.modules() if isinstance(norm, BATCH_NORMS)]


class Activations:
    """The activations that a computation stores for its backward pass.

    Args:
        size: Their size in bytes, without the weights; each storage counts once.
    """

    size: int = 0


@contextmanager
def measure_activations(module: nn.Module) -> Iterator[Activations]:
    """Measure the activations that the block's computations store for their backward pass.

    Args:
        module: The module whose weights and buffers do not count.
    """
    found = Activations()
    seen = {value.untyped_storage().data_ptr() for value in (*module.parameters(), *module.buffers())}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in seen:  # its memory is not reused before the backward pass
            seen.add(storage.data_ptr())
            found.size += storage.nbytes()
        return value.detach()  # the tensor itself would refer to its own graph, and neither would be freed

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield found


def in_chunks(module: nn.Module, x: Tensor, size: int) -> Tensor:
    """Compute ``module(x)``, at most ``size`` rows at a time; training keeps the activations of one chunk at a time.

    The chunks have even sizes, so that none has a single row; batch norm takes its statistics from each chunk.

    Args:
        module: Maps [N, ...] to [N, C], each row independently (except for batch norm).
        x: The rows [N, ...].
        size: Largest number of rows of a chunk.

    Raises:
        ValueError: If ``size`` is not positive.
    """
    if size < 1:
        raise ValueError(f"chunk must be 1 patch or more, got {size}.")
    chunks = x.tensor_split(max(1, math.ceil(len(x) / size)))
    if len(chunks) == 1:  # recomputing would save no memory
        return module(x)  # type: ignore[no-any-return]
    if not (module.training and torch.is_grad_enabled()):
        return torch.cat([module(chunk) for chunk in chunks])
    contexts = partial(counted_once, module)
    return torch.cat([checkpoint(module, chunk, use_reentrant=False, context_fn=contexts) for chunk in chunks])
