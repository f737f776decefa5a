"""Reduction by group, with torch-scatter and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch_geometric.typing as pyg

from hist2st_pyg.utils.scatter import scatter, scatter_in_use

REDUCES = ["sum", "mean", "min", "max"]


@pytest.fixture(params=[True, False], ids=["torch_scatter", "torch_geometric"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        pytest.importorskip("torch_scatter", reason="the scatter extra is not installed")
    monkeypatch.setattr(pyg, "WITH_TORCH_SCATTER", request.param)
    return bool(request.param)


@pytest.mark.parametrize("reduce", REDUCES)
def test_values_and_gradients_are_those_of_a_loop_over_groups(both: bool, reduce: str) -> None:
    generator = torch.Generator().manual_seed(0)
    src = torch.randn(40, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.randint(0, 6, (40,), generator=generator)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    found = scatter(src, index, 7, reduce)
    of = {"sum": torch.sum, "mean": torch.mean, "min": torch.amin, "max": torch.amax}[reduce]
    rows = [of(src[index == group], dim=0) if (index == group).any() else torch.zeros(3).double() for group in range(7)]
    expected = torch.stack(rows)
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad((value * weight).sum(), src)[0] for value in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_what_is_in_use_is_said(both: bool) -> None:
    assert scatter_in_use().startswith("torch-scatter, with" if both else "torch_geometric (torch-scatter ")


def run(code: str, broken: Path, error: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a torch_scatter that raises when it is imported."""
    (broken / "torch_scatter").mkdir(parents=True)
    (broken / "torch_scatter" / "__init__.py").write_text(f"raise {error}\n")
    path = os.pathsep.join([str(broken), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


def test_one_built_for_another_torch_is_left_out_with_one_warning(tmp_path: Path) -> None:
    code = """
import torch
from hist2st_pyg.nn import GNN
from hist2st_pyg.cli.doctor import _devices
out = GNN(4, 1)(torch.ones(3, 4), torch.tensor([[0, 1], [1, 2]]), torch.ones(2, 1))
print(tuple(out.shape))
print(*_devices(), sep="\\n")
"""
    done = run(code, tmp_path, 'OSError("_scatter_cpu.so: undefined symbol: _ZN3c10")')
    assert done.returncode == 0, done.stderr
    assert "(3, 4)\nsums over neighbors: torch_geometric (torch-scatter does not load: it was built for" in done.stdout
    assert done.stderr.count("undefined symbol") == 1
