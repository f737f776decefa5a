from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from hist2st_pyg.heap import release


def resident() -> int:
    """Resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc")
def test_what_is_freed_between_what_stays_is_given_back() -> None:
    pieces = [os.urandom(1) * 100_000 for _ in range(2_000)]
    stays = pieces[::20]
    full = resident()
    del pieces
    release()
    assert len(stays) == 100
    assert full - resident() > 150e6
