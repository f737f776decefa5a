from __future__ import annotations

from pathlib import Path

import anndata
import pytest
from _helpers.made_prediction import SETS, made_prediction
from _helpers.small_run import CONFIG

from hist2st_pyg.cli import main
from hist2st_pyg.inference import write_h5ad


@pytest.fixture
def prediction() -> anndata.AnnData:
    """``made.h5ad``, its counts ``counts.h5ad`` and ``sets.gmt`` in the test's folder."""
    adata, measured = made_prediction()
    del measured.uns["parameters"]
    write_h5ad(adata, "made.h5ad")
    write_h5ad(measured, "counts.h5ad")
    lines = [f"{name}\tna\t" + "\t".join(genes) for name, genes in SETS.items()]
    Path("sets.gmt").write_text("\n".join([*lines, "SMALL\tna\tGENE1"]) + "\n")
    return adata


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert main(["train", "config.yaml", "--output", "run", "--training.epochs", "1", "--model.gnn", "gat"]) == 0
    return tmp_path / "run"
