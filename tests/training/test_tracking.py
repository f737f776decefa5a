"""Runs in wandb: which mode, which names, what is kept offline, what is resumed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from _helpers.offline_runs import OfflineRun, read_offline_run

from hist2st_pyg.training import preset_config
from hist2st_pyg.training.loggers import open_loggers
from hist2st_pyg.training.tracking import wandb_mode, wandb_runs
from hist2st_pyg.utils.json_files import read_json

# In a process of its own: wandb asks the server whether a key is right only once.
SCRIPT = """
import logging
from pathlib import Path
from hist2st_pyg.training import loggers, preset_config, tracking

logging.basicConfig()
tracking.CONNECT_SECONDS = 3
config = preset_config(output="run", wandb={mode!r}, group="grid", job_type="sage", run_name="cell")
with loggers.open_loggers(config, Path("run")) as opened:
    (run,) = tracking.wandb_runs(opened)
    run.experiment.log({{"val/pcc": 0.25}})
"""


def run_without_an_answer(mode: str) -> subprocess.CompletedProcess[str]:
    """With a key, and a server that refuses connections."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", SCRIPT.format(mode=mode)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_an_answer_a_run_is_kept_offline() -> None:
    done = run_without_an_answer("auto")
    assert done.returncode == 0, done.stderr
    assert "wandb cannot be reached" in done.stderr
    assert "the run is kept offline in run/wandb" in done.stderr
    offline = read_offline_run(Path("run"))
    assert (offline.group, offline.job_type) == ("grid", "sage")
    assert [row["val/pcc"] for row in offline.history] == [0.25]


def test_online_that_was_asked_for_is_an_error() -> None:
    done = run_without_an_answer("online")
    assert done.returncode == 1
    assert "ConnectionError: wandb cannot be reached" in done.stderr
    assert "Set wandb=offline" in done.stderr


@pytest.mark.parametrize(
    ("mode", "variable", "n_wandb"),
    [
        ("auto", "disabled", 0),
        ("auto", "offline", 1),
        ("disabled", "offline", 0),
        ("off", "offline", 0),
        ("offline", "disabled", 1),
    ],
)
def test_wandb_s_own_variable_is_heard_where_nothing_is_said(
    mode: str, variable: str, n_wandb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    with open_loggers(preset_config(output="run", wandb=mode), Path("run")) as opened:
        assert len(wandb_runs(opened)) == n_wandb
    assert (Path("run") / "wandb").exists() == bool(n_wandb)


def started(**run: Any) -> OfflineRun:
    config = preset_config(wandb="offline", **{"output": "run", **run})
    with open_loggers(config, config.folder):
        pass
    return read_offline_run(config.folder)


VARIABLES = {
    "WANDB_PROJECT": "of the variable",
    "WANDB_NAME": "name of the variable",
    "WANDB_ENTITY": "lab",
    "WANDB_TAGS": "a,b",
    "WANDB_NOTES": "a note",
    "WANDB_RUN_GROUP": "the group",
}


def told(run: OfflineRun) -> list[Any]:
    return [run.project, run.name, run.entity, sorted(run.tags), run.notes, run.group]


def test_a_key_is_heard_before_the_variable_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert told(started(output="runs/mean/version_3")) == ["hist2st_pyg", "mean_version_3", "", [], "", ""]
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert told(started(output="second")) == [*list(VARIABLES.values())[:3], ["a", "b"], "a note", "the group"]
    keys = {"project": "p", "run_name": "n", "entity": "e", "tags": ["t"], "notes": "key's", "group": "g"}
    assert told(started(output="third", **keys)) == ["p", "n", "e", ["t"], "key's", "g"]


@pytest.mark.parametrize(
    ("variable", "value", "mode"),
    [
        ("WANDB_DISABLED", "true", "disabled"),
        ("WANDB_DISABLED", "1", "disabled"),
        ("WANDB_DISABLED", "false", "auto"),
        ("WANDB_MODE", "dryrun", "offline"),
        ("WANDB_MODE", "disabled", "disabled"),
        ("WANDB_MODE", "online", "auto"),
    ],
)
def test_the_mode_s_variables_are_heard(variable: str, value: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv(variable, value)
    assert wandb_mode("auto") == mode
    assert wandb_mode("online") == "online"


def test_a_resumed_run_is_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    first = started(project="p")
    assert read_json("run/wandb.json") == {"id": first.id, "project": "p", "entity": None}
    monkeypatch.setenv("WANDB_PROJECT", "another")
    with open_loggers(preset_config(output="run", wandb="offline", resume=True), Path("run")):
        pass
    second = read_offline_run(Path("run"), part=1, of=2)
    assert (second.id, second.project) == (first.id, "p")
    with open_loggers(preset_config(output="run", wandb="offline"), Path("run")):
        pass
    assert read_offline_run(Path("run"), part=2, of=3).id != first.id


def test_wandb_tells_where_the_run_is_and_nothing_else(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "hist2st_pyg"):
        run = started()
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("hist2st_pyg")]
    assert re.fullmatch(
        rf"wandb is offline; `wandb sync run/wandb/offline-run-\d+_\d+-{run.id}` uploads the run\.", line
    )
    assert "wandb:" not in "".join(capfd.readouterr())
