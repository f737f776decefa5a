"""The unspoiled files are right: what the cases show is due to what they spoil."""

from __future__ import annotations

from pathlib import Path

import pytest
from _helpers.faults import run, take


@pytest.mark.parametrize(
    "command",
    [
        "predict model a.png -o out.h5ad --spots s.csv",
        "info model",
        "info run",
        "info her",
        "info cscc",
        "info visium",
        "info hd",
        "info hest",
        "info ann",
        "regions p.h5ad --method kmeans --labels l.csv",
        "genes p.h5ad --regions tissue",
        "pathways p.h5ad --gene_sets sets.gmt --min_genes 3",
        "confidence p.h5ad --measured m.h5ad",
        "evaluate model --data.name anndata --data.root ann",
        "explain model a.png --gene GENE1 --figures f --spots s.csv --spot spot_1 --steps 2",
    ],
)
def test_a_command_on_the_made_world_succeeds(command: str, world: Path) -> None:
    take(world, command.split())
    assert run(command) == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train tiny.yaml", "evaluate run --data.name synthetic --data.sections [A1]"])
def test_a_slow_command_on_the_made_world_succeeds(command: str, world: Path) -> None:
    take(world, command.split())
    assert run(command) == 0
