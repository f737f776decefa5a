"""Keeping torch's number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def same_threads() -> Iterator[None]:
    """Around calls of scanpy: its numba sets OpenMP's number of threads for the process, and so torch's.

    Two training processes on two cores, each with a thread too many, wait for each other ten times longer than they
    compute.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
