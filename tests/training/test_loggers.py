from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from _helpers.offline_runs import read_offline_run

from hist2st_pyg.training import preset_config
from hist2st_pyg.training.loggers import open_loggers
from hist2st_pyg.training.tracking import wandb_runs

# In a process of its own: wandb asks the server whether a key is right only once.
SCRIPT = """
import logging
from pathlib import Path
from hist2st_pyg.training import loggers, preset_config, tracking

logging.basicConfig()
tracking.CONNECT = 3
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
    assert "Take wandb=offline" in done.stderr


def test_an_unknown_choice_is_told(tmp_path: Path) -> None:
    config = preset_config(wandb="maybe")
    with pytest.raises(ValueError, match=r"Unknown wandb='maybe'. Choose one of: auto, disabled, off, offline, online"):
        open_loggers(config, tmp_path).__enter__()


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
