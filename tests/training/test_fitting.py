"""When training ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from _helpers.tiny_runs import tiny
from pytorch_lightning.callbacks import Timer

from hist2st_pyg import Section, train


@pytest.mark.parametrize("val_share", [0.0, 0.3])
def test_a_time_limit_ends_training_where_an_epoch_ends_and_never_before_the_first(
    cohort: list[Section], val_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = 0.0  # then the time is up in the first step
    monkeypatch.setattr(Timer, "time_elapsed", lambda timer, *_: before if timer.start_time() is None else 60.0)
    config = tiny({"val_share": val_share}, training={"epochs": 3, "batch_size": 1, "max_minutes": 1})
    summary = json.loads((train(config, cohort) / "summary.json").read_text())
    assert (summary["epochs"], summary["steps"]) == (1, 2)
    before = 60.0
    with pytest.raises(ValueError, match=r"max_minutes=1 ends before the first epoch"):
        train(replace(config, output="late"), cohort)
    assert not Path("late", "model").exists()
    assert not Path("late", "summary.json").exists()


def test_patience_ends_training(cohort: list[Section]) -> None:
    model = {"vision": "convmixer", "vision_kwargs": {"channels": 8, "depth": 0}, "gnn": "none", "color_stream": False}
    config = tiny({"val_share": 0.3}, model, {"epochs": 9, "lr": 1e-30, "patience": 2})  # nothing changes
    summary = json.loads((train(config, cohort) / "summary.json").read_text())
    assert (summary["chosen_epoch"], summary["epochs"]) == (0, 3)
