from __future__ import annotations

import logging
from pathlib import Path

import pytest
from offline_runs import read_offline_run

from hist2st_pyg.training import loggers, preset_config
from hist2st_pyg.training.loggers import open_loggers, wandb_runs


@pytest.fixture
def _no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and a server that refuses connections."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(loggers, "CONNECT", 3)


@pytest.mark.usefixtures("_no_answer")
def test_without_an_answer_a_run_is_kept_offline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = preset_config(output=str(tmp_path), wandb="auto", group="grid", job_type="sage", run_name="cell")
    with caplog.at_level(logging.WARNING), open_loggers(config, tmp_path) as opened:
        (run,) = wandb_runs(opened)
        run.experiment.log({"val/pcc": 0.25})
    assert "wandb cannot be reached" in caplog.text
    offline = read_offline_run(tmp_path)
    assert (offline.group, offline.job_type) == ("grid", "sage")
    assert [row["val/pcc"] for row in offline.history] == [0.25]


@pytest.mark.usefixtures("_no_answer")
def test_online_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    config = preset_config(output=str(tmp_path), wandb="online")
    with (
        pytest.raises(ConnectionError, match=r"(?s)wandb cannot be reached.*Take wandb=offline"),
        open_loggers(config, tmp_path),
    ):
        pass


def test_an_unknown_choice_is_told(tmp_path: Path) -> None:
    config = preset_config(wandb="maybe")
    with pytest.raises(ValueError, match=r"Unknown wandb='maybe'. Choose one of: auto, off, offline, online"):
        open_loggers(config, tmp_path).__enter__()
