from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hist2st_pyg.utils import runtime
from hist2st_pyg.utils.runtime import free_memory, trim_memory

# In a process of its own: numba can be told its number of threads only once.
SCRIPT = """
import torch
import hist2st_pyg as h
from hist2st_pyg.data.expression import variable_genes
from hist2st_pyg.analysis.regions import find_regions
from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i

torch.set_num_threads(1)
(section,) = h.load_sections("synthetic", names=["A1"], spots=36, genes=20, noise_genes=4)
variable_genes([section], 5)
assert torch.get_num_threads() == 1, "variable_genes"
morans_i(section.adata.X.toarray(), adjacent_edges(section.pos))
assert torch.get_num_threads() == 1, "morans_i"
find_regions(section.adata)
assert torch.get_num_threads() == 1, "find_regions"
"""


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
    trim_memory()
    assert len(stays) == 100
    assert full - resident() > 150e6


def test_scanpy_does_not_change_torch_s_number_of_threads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_free_memory_is_that_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, physical = torch.device("cpu"), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free_memory(cpu) <= physical
    memory, group = tmp_path / "meminfo", tmp_path / "cgroup"
    monkeypatch.setattr(runtime, "MEMORY", memory)
    monkeypatch.setattr(runtime, "CONTROL_GROUP", group)
    assert 0 < free_memory(cpu) <= physical
    memory.write_text("MemTotal:       16000 kB\nMemFree:     100 kB\nMemAvailable:    9000 kB\n")
    assert free_memory(cpu) == 9000 * 1024
    group.mkdir()
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5000000\n")
    assert free_memory(cpu) == 9000 * 1024
    (group / "memory.max").write_text("7000000\n")
    assert free_memory(cpu) == 2000000
    (group / "memory.current").write_text("8000000\n")
    assert free_memory(cpu) == 0
