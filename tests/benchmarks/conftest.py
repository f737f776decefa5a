"""A grid of tiny cells on made sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from hist2st_pyg import load_sections


@pytest.fixture(scope="session")
def made_sections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sections of two patients as files.

    They have no labels: to cluster them, each cell's process would compile more than it computes.
    """
    folder = tmp_path_factory.mktemp("sections")
    for section in load_sections("synthetic", names=["A1", "A2", "B1"], patients=2, spots=36, genes=20, noise_genes=4):
        (folder / section.name).mkdir()
        adata = section.adata.copy()
        del adata.obs["label"]
        adata.write_h5ad(folder / section.name / "section.h5ad")
        image = section.require_image()
        with image.open() as region:
            Image.fromarray(region(0, 0, *image.size)).save(folder / section.name / "he.png")
    return folder


@pytest.fixture
def grid(made_sections: Path) -> dict[str, Any]:
    """The values of a grid's file."""
    return {
        "split": "leave_one_patient_out",
        "seeds": [0, 1],
        "data": {"n_genes": 6, "patch_size": 28},
        "training": {"epochs": 2, "patience": 1},
        "datasets": {
            "made": {
                "name": "anndata",
                "root": str(made_sections),
                "sections": ["A1", "A2", "B1"],
                "patients": {"A1": "A", "A2": "A", "B1": "B"},
            }
        },
        "models": {
            "mean": {},
            "ridge_neighbors": {},
            "tiny": {
                "model": {"name": "hist2st", "gnn": "sage", "vision_kwargs": {"channels": [8], "out_channels": 16}},
            },
        },
    }


@pytest.fixture
def grid_file(grid: dict[str, Any], tmp_path: Path) -> Path:
    """The grid as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(grid, sort_keys=False))
    return path
