"""Control the memory and the threads of this process."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

MEMORY = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")


def trim_memory() -> None:
    """Return freed memory to the system; glibc keeps it otherwise, and fragments add up.

    Other C libraries return it by themselves.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def free_memory(device: torch.device) -> int:
    """Free memory in bytes: of a GPU, else of this machine or of its container, if that allows less."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")  # excludes reclaimable caches
    if MEMORY.is_file() and (known := re.search(r"MemAvailable:\s+(\d+) kB", MEMORY.read_text(encoding="ascii"))):
        free = int(known[1]) * 1024
    limit, used = (_of_group(name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, max(limit - used, 0))


def _of_group(name: str) -> int | None:
    """A number of Linux's control group of this process; None if there is no group or no limit."""
    path = CONTROL_GROUP / name
    text = path.read_text(encoding="ascii").strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None


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
