"""What the process holds of the machine: memory that was freed, and torch's threads."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def trim_memory() -> None:
    """Return freed memory to the system; glibc otherwise keeps it for later, and pieces of different sizes add up.

    Other C libraries do so by themselves.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@contextmanager
def preserve_num_threads() -> Iterator[None]:
    """Keep torch's number of threads over a call of scanpy, whose numba sets OpenMP's for the whole process.

    Two training processes on two cores, each with a thread too many, wait for each other ten times longer than they
    compute.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
