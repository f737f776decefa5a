from __future__ import annotations

from pathlib import Path

import pytest
from _helpers.offline_runs import read_offline_run

from hist2st_pyg import Section, train
from hist2st_pyg.training import preset_config
from hist2st_pyg.training.loggers import open_loggers


def test_an_unknown_choice_is_told(tmp_path: Path) -> None:
    config = preset_config(wandb="maybe")
    with pytest.raises(ValueError, match=r"Unknown wandb='maybe'. Choose one of: auto, disabled, off, offline, online"):
        open_loggers(config, tmp_path).__enter__()


def test_panel_and_sections_are_told(cohort: list[Section]) -> None:
    config = preset_config(
        data={"n_genes": 8, "patch_size": 16, "test": ["B1"]}, model={"name": "mean"}, output="run", wandb="offline"
    )
    train(config, cohort)
    logged = read_offline_run(Path("run")).config
    assert logged["sections"] == {"train": ["A1", "A2"], "val": [], "test": ["B1"]}
    assert len(logged["genes"]) == 8


def test_a_sweep_without_validation_is_warned(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    config = preset_config(data={"n_genes": 8, "patch_size": 16}, model={"name": "mean"}, wandb="off")
    train(config, cohort)
    assert any("this sweep has no val/pcc; set data.val" in message for message in caplog.messages)
