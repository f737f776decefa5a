from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import run
from hist2st_pyg.nn import CONVS

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "benchmarks" / "sweeps").glob("*.yaml"))


def words(sweep: dict[str, Any], **values: Any) -> list[str]:
    """The command of a run, as wandb's agent puts it together."""
    arguments = [f"--{name}={value}" for name, value in values.items()]
    command = [word for word in sweep["command"] if word != "${env}"]
    return [part for word in command for part in (arguments if word == "${args}" else [word])]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_calls_one_cell(path: Path) -> None:
    sweep = yaml.safe_load(path.read_text())
    command = words(sweep, **{name: entry["values"][0] for name, entry in sweep["parameters"].items()})
    assert command[:3] == ["${interpreter}", "-m", "benchmarks.run"]
    assert (ROOT / sweep["program"]).is_file()
    grid = yaml.safe_load((ROOT / command[3]).read_text())
    parameters = {name.removeprefix("grid_"): entry["values"] for name, entry in sweep["parameters"].items()}
    assert set(parameters["model"]) <= set(grid["models"])
    assert set(parameters["seed"]) <= set(grid["seeds"])
    assert sweep["metric"] == {"name": "val/pcc", "goal": "maximize"}


def test_the_sweep_over_layers_has_all_of_the_grid() -> None:
    sweep = yaml.safe_load((ROOT / "benchmarks" / "sweeps" / "gnn.yaml").read_text())
    grid = yaml.safe_load((ROOT / sweep["command"][4]).read_text())
    layers = {name for name in grid["models"] if name.removeprefix("hist2st_") in CONVS}
    assert set(sweep["parameters"]["grid_model"]["values"]) == layers


def test_a_sweep_s_arguments_choose_the_cell(grid_file: Path, tmp_path: Path) -> None:
    sweep = {"command": ["${interpreter}", "-m", "benchmarks.run", str(grid_file), "${args}"]}
    chosen = words(sweep, grid_model="mean", grid_fold="B", grid_seed=1)[3:]
    options = ["--results", str(tmp_path / "r"), "--work", str(tmp_path / "w"), "--wandb", "off"]
    assert run.main([*chosen, *options]) == 0
    assert (tmp_path / "r/made/leave_one_patient_out/B/mean/1.json").is_file()
