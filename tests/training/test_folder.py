"""Where a run goes: to a new folder, or in place of the run that was there, and of nothing else."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from hist2st_pyg import Section, load_model, train
from hist2st_pyg.cli import main
from hist2st_pyg.training import TrainConfig, folder, open_loggers, preset_config
from hist2st_pyg.training.lock import run_lock

DATA = {"n_genes": 8, "patch_size": 16, "test": ["B1"]}


def quick(model: str = "mean", data: dict[str, Any] | None = None, **run: Any) -> TrainConfig:
    return preset_config(data={**DATA, **(data or {})}, model={"name": model}, wandb="off", **run)


def kind(run: Path) -> str:
    return type(load_model(run)).__name__


def test_each_run_without_an_output_gets_a_folder_of_its_own(cohort: list[Section]) -> None:
    runs = [train(quick(name), cohort) for name in ("mean", "mean", "ridge")]
    assert runs == [Path(f"runs/{name}") for name in ("mean/version_0", "mean/version_1", "ridge/version_0")]
    assert yaml.safe_load((runs[1] / "config.yaml").read_text())["output"] == "runs/mean/version_1"
    Path("runs/mean/version_7").mkdir()
    Path("runs/mean/version_x").mkdir()
    assert train(quick(), cohort) == Path("runs/mean/version_8")


def test_processes_that_start_together_get_different_folders() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(folder.new_folder, [quick().model] * 32))
    assert sorted(path.name for path in found) == sorted(f"version_{n}" for n in range(32))


def test_a_start_that_fails_leaves_no_folder(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match="no section 'C9'"):
        train(quick(data={"test": ["C9"]}), cohort)
    assert not Path("runs").exists()
    train(quick(), cohort)
    with pytest.raises(ValueError, match="no section 'C9'"):
        train(quick(data={"test": ["C9"]}), cohort)
    assert [path.name for path in Path("runs/mean").iterdir()] == ["version_0"]


def test_other_processes_are_told_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folder.FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(folder, "is_first", lambda: False)
    with pytest.raises(ValueError, match="Training in several processes needs output"):
        folder.new_folder(quick().model)
    monkeypatch.setattr(folder, "is_first", lambda: True)
    chosen = folder.new_folder(quick().model)
    monkeypatch.setattr(folder, "is_first", lambda: False)
    assert folder.new_folder(quick().model) == chosen


def test_overwrite_replaces_the_run_and_nothing_else(cohort: list[Section]) -> None:
    train(quick("mean", output="run"), cohort)
    Path("run/prediction.h5ad").write_text("a user's")
    Path("run/last.ckpt").write_text("of the former run")
    train(quick("ridge", output="run", overwrite=True), cohort)
    assert kind(Path("run")) == "Ridge"
    assert Path("run/prediction.h5ad").read_text() == "a user's"
    assert not Path("run/last.ckpt").exists()
    # Who trains by the run's record again does not lose it.
    assert yaml.safe_load(Path("run/config.yaml").read_text())["overwrite"] is False
    assert json.loads(Path("run/summary.json").read_text())["config"]["overwrite"] is False


def test_overwrite_of_what_is_not_there_is_a_run(cohort: list[Section]) -> None:
    Path("empty").mkdir()
    for output in ("new", "empty"):
        assert kind(train(quick(output=output, overwrite=True), cohort)) == "Mean"


@pytest.mark.parametrize("name", ["notes.txt", "config.yaml", "summary.json"])
def test_overwrite_does_not_touch_a_folder_of_others(name: str, cohort: list[Section]) -> None:
    Path("mine").mkdir()
    Path("mine", name).write_text("{a: 1}")
    with pytest.raises(FileExistsError, match=r"mine is not a run folder .*not replaced"):
        train(quick(output="mine", overwrite=True), cohort)
    assert [(path.name, path.read_text()) for path in Path("mine").iterdir()] == [(name, "{a: 1}")]


def test_a_start_that_fails_does_not_cost_the_former_run(cohort: list[Section]) -> None:
    train(quick("mean", output="run"), cohort)
    with pytest.raises(ValueError, match="no section 'C9'"):
        train(quick("ridge", {"test": ["C9"]}, output="run", overwrite=True), cohort)
    assert kind(Path("run")) == "Mean"


def test_a_run_that_is_going_on_is_not_overwritten(cohort: list[Section]) -> None:
    train(quick("mean", output="run"), cohort)
    with run_lock(Path("run")), pytest.raises(BlockingIOError, match="run is in use by process"):
        train(quick("ridge", output="run", overwrite=True), cohort)
    assert kind(Path("run")) == "Mean"


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="resume continues a run and overwrite replaces it; set only one of them"):
        quick(output="run", resume=True, overwrite=True)
    with pytest.raises(ValueError, match="resume needs output, the folder of the run to continue"):
        quick(resume=True)


def test_the_command_line_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data.options", "{patients: 2, sections_per_patient: 1, spots: 32}", "--data.n_genes", "4"]
    command = ["train", "--model.name", "mean", *options, "--wandb", "off", "--output", "run"]
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "hist2st train: run holds a run; choose another --output, --resume true to resume it, or "
        "--overwrite true to replace it.\n"
    )
    assert main([*command, "--overwrite", "true"]) == 0
    assert main([*command[:-2], "-q"]) == 0
    assert "The run is in runs/mean/version_0, " in capsys.readouterr().out


def test_overwrite_keeps_what_the_caller_s_loggers_write(cohort: list[Section]) -> None:
    for seed in (0, 1):
        config = quick("ridge", output="run", overwrite=True, seed=seed)
        with open_loggers(config, Path("run")) as loggers:
            Path("run/wandb").mkdir(parents=True, exist_ok=True)
            Path("run/wandb/notes.txt").write_text("of the logger")
            train(config, cohort, loggers)
        assert yaml.safe_load(Path("run/config.yaml").read_text())["seed"] == seed
        assert Path("run/wandb/notes.txt").is_file()
