"""Control the memory and the threads of this process."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def trim_memory() -> None:
    """Return freed memory to the system; glibc keeps it otherwise, and fragments add up.

    Other C libraries return it by themselves.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@contextmanager
def preserve_num_threads() -> Iterator[None]:
    """Restore torch's number of threads after a call of scanpy, whose numba sets OpenMP's for the whole process.

    Two training processes on two cores, each with one thread too many, wait for each other ten times longer than they
    compute.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
