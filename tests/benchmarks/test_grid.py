from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import grid
from benchmarks.config import read_grid
from benchmarks.executors import EXECUTORS

ROOT = Path(__file__).parents[2]


def metrics(results: Path) -> dict[str, Any]:
    """What two runs of a grid have in common; times and memory differ, and a commit in between is another version."""
    found = {}
    for path in sorted(results.rglob("*.json")):
        cell = json.loads(path.read_text())
        for name in ("seconds", "processor_seconds", "peak_mb", "versions"):
            del cell[name]
        found[str(path.relative_to(results))] = cell
    return found


def run(grid_file: Path, results: Path, *arguments: str) -> int:
    work = results.with_name(f"{results.name}_work")
    return grid.main([str(grid_file), "--results", str(results), "--work", str(work), "--wandb", "off", *arguments])


@pytest.fixture
def small(grid_file: Path) -> Path:
    values = yaml.safe_load(grid_file.read_text())
    del values["models"]["ridge_neighbors"]
    grid_file.write_text(yaml.safe_dump({**values, "seeds": [0]}, sort_keys=False))
    return grid_file


@pytest.mark.slow
def test_executors_give_the_same_results(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its workers starve on a busy machine
    for executor in EXECUTORS:
        assert run(small, tmp_path / executor, "--executor", executor, "--jobs", "2") == 0
    results = [metrics(tmp_path / executor) for executor in EXECUTORS]
    assert len(results) > 1
    assert len(results[0]) == 4
    assert all(result == results[0] for result in results)


def test_finished_cells_stay_and_a_failed_one_is_tried_again(
    grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(grid_file.read_text())
    values["seeds"] = [0]
    values["models"] = {"mean": {}, "broken": {"model": {"name": "hist2st", "gnn": "nowhere"}}}
    grid_file.write_text(yaml.safe_dump(values, sort_keys=False))
    results = tmp_path / "results"
    assert run(grid_file, results, "--jobs", "2") == 1
    said = capsys.readouterr()
    assert "2 of 4 cells failed; run the command again to retry them" in said.err
    assert "/broken/0: FAILED, see" in said.out
    (first, _) = sorted(results.rglob("*.failed.txt"))
    assert "Unknown gnn='nowhere'" in first.read_text()
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert len(before) == 2

    values["models"]["broken"] = {"model": {"name": "mean"}}
    grid_file.write_text(yaml.safe_dump(values, sort_keys=False))
    assert run(grid_file, results) == 0
    assert "4 cells, 2 finished, 2 to run" in capsys.readouterr().out
    assert not list(results.rglob("*.failed.txt"))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_results_of_another_configuration_are_not_taken_for_these(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(small.read_text())
    values["models"] = {"mean": {}}
    small.write_text(yaml.safe_dump(values))
    assert run(small, tmp_path / "results") == 0
    values["data"]["n_genes"] = 5
    small.write_text(yaml.safe_dump(values))
    assert run(small, tmp_path / "results") == 2
    assert "was made with another configuration (data.n_genes was 6, is 5)" in capsys.readouterr().err
    assert run(small, tmp_path / "results", "--overwrite") == 0
    assert all(cell["metrics"]["n_genes"] == 5 for cell in metrics(tmp_path / "results").values())


@pytest.mark.slow
def test_a_killed_grid_goes_on(grid_file: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(grid_file.read_text())
    grid_file.write_text(yaml.safe_dump({**values, "seeds": [0]}, sort_keys=False))
    results = tmp_path / "results"
    command = [
        sys.executable, "-m", "benchmarks.grid", str(grid_file), "--results", str(results),
        "--work", str(tmp_path / "work"), "--wandb", "off", "--jobs", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(results.rglob("*.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # the cell that was running ends with its grid
    finished = {path: path.read_bytes() for path in results.rglob("*.json")}
    assert 2 <= len(finished) < 6
    assert not list(results.rglob(".*"))  # nothing half written

    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert {path: path.read_bytes() for path in finished} == finished
    assert run(grid_file, tmp_path / "whole", "--jobs", "2") == 0
    assert len(metrics(results)) == 6
    assert metrics(results) == metrics(tmp_path / "whole")


def test_a_crashed_process_is_a_failed_cell(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import executors

    monkeypatch.setattr(executors, "_logged", _crash)
    cells = read_grid(small)[:2]
    assert [fine for _, fine in executors.local(cells, tmp_path, tmp_path / "work", "off", 1, 0)] == [False, False]
    assert "ended with status -9" in (cells[0].result(tmp_path).with_suffix(".failed.txt")).read_text()


def _crash(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
