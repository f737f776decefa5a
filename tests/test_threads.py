from __future__ import annotations

import subprocess
import sys

# In a process of its own: numba can be told its number of threads only once.
SCRIPT = """
import torch
import hist2st_pyg as h
from hist2st_pyg.data.expression import variable_genes
from hist2st_pyg.evaluation.regions import find_regions
from hist2st_pyg.evaluation.spatial import adjacent_edges, morans_i

torch.set_num_threads(1)
(section,) = h.load_sections("synthetic", names=["A1"], spots=36, genes=20, noise_genes=4)
variable_genes([section], 5)
assert torch.get_num_threads() == 1, "variable_genes"
morans_i(section.adata.X.toarray(), adjacent_edges(section.pos))
assert torch.get_num_threads() == 1, "morans_i"
find_regions(section.adata)
assert torch.get_num_threads() == 1, "find_regions"
"""


def test_scanpy_does_not_change_torch_s_number_of_threads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
