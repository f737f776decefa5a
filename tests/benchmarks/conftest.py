"""A grid of tiny cells on synthetic sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

GRID: dict[str, Any] = {
    "split": "leave_one_patient_out",
    "seeds": [0, 1],
    "data": {"n_genes": 6, "patch_size": 28},
    "training": {"epochs": 2, "patience": 1},
    "datasets": {
        "made": {
            "name": "synthetic",
            "sections": ["A1", "A2", "B1"],
            "options": {"patients": 2, "spots": 36, "genes": 20, "noise_genes": 4},
        }
    },
    "models": {
        "mean": {},
        "ridge_neighbours": {},
        "tiny": {
            "model": {"name": "hist2st", "gnn": "sage", "vision_kwargs": {"channels": [8], "out_channels": 16}},
        },
    },
}


@pytest.fixture
def grid(tmp_path: Path) -> dict[str, Any]:
    """The grid's values, to be changed and written with :func:`write_grid`."""
    values: dict[str, Any] = yaml.safe_load(yaml.safe_dump(GRID))
    return values


@pytest.fixture
def grid_file(tmp_path: Path) -> Path:
    """The grid as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(GRID, sort_keys=False))
    return path
