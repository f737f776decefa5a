"""Stop building a network that has too many weights, before they take memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.nn.parameter import is_lazy

MOST_TENSORS = 50_000
"""Largest number of weight tensors of a network that is built from a configuration."""
MOST_BYTES = 32 * 2**30
"""Largest size of its weights."""
SPARE_TENSORS, SPARE_BYTES = 1000, 64 * 2**20
"""Allowance beyond the weights of a network's file, for parts that its constructors build and drop."""


@contextmanager
def weight_limit(refusal: str, tensors: int = MOST_TENSORS, size: int = MOST_BYTES) -> Iterator[None]:
    """In this block, refuse modules whose weights exceed a number or a size.

    A module registers each weight before it sets the values, so a tensor that is too large never takes its memory.

    Args:
        refusal: The end of the error: what to do.
        tensors: Largest number of parameters and buffers.
        size: Their largest size in bytes.

    Raises:
        ValueError: If the weights exceed the limit or do not fit into memory; the message holds the limit.
    """
    thread, count, total = threading.get_ident(), 0, 0

    def register(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal count, total
        if value is None or threading.get_ident() != thread:
            return
        count += 1
        total += 0 if is_lazy(value) else value.numel() * value.element_size()
        if count > tensors:
            raise ValueError(f"it asks for more than {tensors:,} weights; {refusal}")
        if total > size:
            raise ValueError(
                f"it asks for weights of more than {size / 2**20:,.0f} MiB ({type(module).__name__}.{name} is "
                f"{list(value.shape)}); {refusal}"
            )

    handles = [
        hooks.register_module_parameter_registration_hook(register),
        hooks.register_module_buffer_registration_hook(register),
    ]
    try:
        yield
    except RuntimeError as error:
        if "allocate" in str(error):
            raise ValueError(f"its weights do not fit into memory; {refusal}") from error
        raise
    finally:
        for handle in handles:
            handle.remove()


def as_large_as(state: Mapping[str, Any]) -> dict[str, int]:
    """The limit of a network that is built for given weights, as arguments of :func:`weight_limit`."""
    size = sum(value.numel() * value.element_size() for value in state.values() if isinstance(value, Tensor))
    # Twice the size, because weights may be saved in half precision.
    return {"tensors": 2 * len(state) + SPARE_TENSORS, "size": 2 * size + SPARE_BYTES}
