from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from _helpers.offline_runs import read_offline_run

from benchmarks import cell
from hist2st_pyg.cli import main
from hist2st_pyg.nn import CONVS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "sweeps"
SWEEPS = sorted(FOLDER.glob("*.yaml"))
TRAIN = FOLDER / "train.yaml"


def words(sweep: dict[str, Any], **values: Any) -> list[str]:
    """The command of a run, as wandb's agent puts it together."""
    arguments = [f"--{name}={value}" for name, value in values.items()]
    command = [word for word in sweep["command"] if word != "${env}"]
    return [part for word in command for part in (arguments if word == "${args}" else [word])]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_s_program_is_there_and_its_metric_is_logged(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    assert (ROOT / sweep["program"]).is_file()
    assert sweep["metric"] == {"name": "val/pcc", "goal": "maximize"}


@pytest.mark.parametrize("path", [path for path in SWEEPS if path != TRAIN], ids=lambda path: path.stem)
def test_a_sweep_calls_one_cell(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    command = words(sweep, **{name: entry["values"][0] for name, entry in sweep["parameters"].items()})
    assert command[:3] == ["${interpreter}", "-m", "benchmarks.cell"]
    grid = yaml.safe_load((ROOT / command[3]).read_text())
    parameters = {name.removeprefix("grid_"): entry["values"] for name, entry in sweep["parameters"].items()}
    assert set(parameters["model"]) <= set(grid["models"])
    assert set(parameters["seed"]) <= set(grid["seeds"])


def test_the_sweep_over_layers_has_all_of_the_grid() -> None:
    sweep = yaml.safe_load((ROOT / "benchmarks" / "sweeps" / "gnn.yaml").read_text())
    grid = yaml.safe_load((ROOT / sweep["command"][4]).read_text())
    layers = {name for name in grid["models"] if name.removeprefix("hist2st_") in CONVS}
    assert set(sweep["parameters"]["grid_model"]["values"]) == layers


def test_a_sweep_s_arguments_choose_the_cell(grid_file: Path, tmp_path: Path) -> None:
    sweep = {"command": ["${interpreter}", "-m", "benchmarks.cell", str(grid_file), "${args}"]}
    chosen = words(sweep, grid_model="mean", grid_fold="B", grid_seed=1)[3:]
    options = ["--results", str(tmp_path / "r"), "--work", str(tmp_path / "w"), "--wandb", "off"]
    assert cell.main([*chosen, *options]) == 0
    assert (tmp_path / "r/made/leave_one_patient_out/B/mean/1.json").is_file()


def trial(sweep: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a trial, as wandb's controller gives them."""
    return {
        name: entry["value"] if "value" in entry else entry["values"][-1] if "values" in entry else entry["min"]
        for name, entry in sweep["parameters"].items()
    }


def test_a_trial_of_training_runs_and_has_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default preset; a trial's variables are those that wandb's agent sets."""
    sweep = yaml.safe_load(TRAIN.read_text())
    parameters = trial(sweep)
    command = words(sweep, **parameters)
    assert command[:4] == ["${interpreter}", "-m", "hist2st_pyg", "train"]
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "trial1")
    wandb.teardown()  # it reads these variables once a process
    try:
        small = ["--data.options={spots: 48}", "--data.n_genes=8", "--training.epochs=1"]
        assert main([*command[3:], *small]) == 0
    finally:
        wandb.teardown()
    logged = read_offline_run(Path("runs/hist2st/version_0"))
    assert (logged.id, logged.sweep) == ("trial1", "sweep1")
    assert any("val/pcc" in row for row in logged.history)
    assert -1 <= logged.summary["val/pcc"] <= 1
    assert logged.config["training"]["lr"] == parameters["training.lr"]
    assert logged.config["model"]["gnn"] == parameters["model.gnn"]
