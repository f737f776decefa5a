"""Training in two processes on CPUs against one process that takes the same steps."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hist2st_pyg import load_model

ROOT = Path(__file__).parents[2]
# Three sections train and three validate, so that the second process has one less of each. Without batch norm, which
# sees one process's patches, and without random draws, which are each process's own.
CONFIG = {
    "accelerator": "cpu",
    "wandb": "disabled",
    "data": {
        "name": "synthetic",
        "options": {"patients": 4, "sections_per_patient": 2, "spots": 36},
        "train": ["A1", "A2", "B1"],
        "val": ["C1", "C2", "D1"],
        "patch_size": 16,
        "scales": [1.0],
        "stain": "none",
        "window": None,
        "n_genes": 6,
    },
    "model": {
        "vision": "linear",
        "vision_kwargs": {"out_channels": 16},
        "color_stream": False,
        "gnn_dropout": 0.0,
    },
    "training": {"epochs": 3, "augment": None, "patience": 2},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A run of one process with two sections a step, and of two processes with one each."""
    folder = tmp_path_factory.mktemp("processes")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    # Lightning starts the second process by running the first one's script again.
    (folder / "hist2st.py").write_text("import sys\nfrom hist2st_pyg.cli import main\nsys.exit(main())\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = {}
    for devices in (1, 2):
        words = ["hist2st.py", "train", "config.yaml", f"--devices={devices}", f"--output=run{devices}"]
        words.append(f"--training.batch_size={2 // devices}")
        started[devices] = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    for devices, process in started.items():
        printed, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert printed == f"The run is in run{devices}, the model in run{devices}/model.\n"
        assert errors.count("epoch 3/3") == 1
    return {devices: folder / f"run{devices}" for devices in started}


def curves(run: Path, column: str) -> list[float]:
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


@pytest.mark.parametrize("column", ["train/loss", "train/expression", "train/likelihood", "val/pcc", "val/loss"])
def test_losses_and_validation_are_those_of_one_process(runs: dict[int, Path], column: str) -> None:
    one, two = curves(runs[1], column), curves(runs[2], column)
    assert len(one) == (6 if column.startswith("train") else 3)
    assert np.allclose(one, two, rtol=1e-5, atol=1e-6)


def test_the_same_epoch_is_chosen_and_the_weights_agree(runs: dict[int, Path]) -> None:
    summaries = [json.loads((run / "summary.json").read_text()) for run in runs.values()]
    assert summaries[0]["chosen_epoch"] == summaries[1]["chosen_epoch"]
    assert summaries[0]["val_pcc"] == pytest.approx(summaries[1]["val_pcc"], abs=1e-6)
    one, two = (load_model(run).state_dict() for run in runs.values())
    for name, value in one.items():
        # Six steps of at most lr=3e-3 each; a gradient averaged wrongly turns some of them round.
        assert torch.allclose(value.float(), two[name].float(), atol=1e-4), name


def test_only_the_first_process_writes(runs: dict[int, Path]) -> None:
    one, two = ({str(path.relative_to(run)) for path in run.rglob("*")} for run in runs.values())
    assert one == two


@pytest.mark.slow
def test_wandb_is_one_process_s_and_no_process_fails(tmp_path: Path) -> None:
    """Squares of two sections validate, as without validation sections; wandb writes into the run's folder."""
    config = {**CONFIG, "wandb": "offline", "training": {"epochs": 1}, "devices": 2, "output": "run"}
    config["data"] = {**CONFIG["data"], "train": ["A1", "A2"], "val": [], "val_share": 0.2, "val_side": 2.0}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    Path("hist2st.py").write_text("import sys\nfrom hist2st_pyg.cli import main\nsys.exit(main())\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "hist2st.py", "train", "config.yaml"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "sync_dist" not in done.stderr
    assert len(list(Path("run/wandb").glob("offline-run-*"))) == 1
    assert done.stderr.count("epoch 1/1") == 1
