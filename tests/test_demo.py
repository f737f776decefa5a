from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from hist2st_pyg import demo, training
from hist2st_pyg.cli import main


def test_the_demo_s_path(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way with one epoch; `make demo` runs it in full."""
    small = functools.partial(demo.load_sections, spots=36)
    monkeypatch.setattr(demo, "load_sections", small)
    monkeypatch.setattr(demo, "EPOCHS", 1)
    assert main(["demo", "--output", "out", "--wandb", "off"]) == 0
    out = capsys.readouterr().out
    pictures = [Path(line.strip()) for line in out.splitlines() if line.strip().endswith(".png")]
    assert len(pictures) == 8
    assert all(picture.is_file() for picture in pictures)
    result = json.loads(Path("out/evaluation.json").read_text())
    assert set(result["sections"]) == {"C1", "C2"}
    assert result["seen_in_training"] == []
    assert Path("out/C1_grid.h5ad").is_file()
    assert main(["demo", "--output", "out", "--wandb", "off"]) == 0  # an earlier demo is replaced
    assert training.PRESETS["small"]["training"]["epochs"] > 1


def test_nothing_but_an_earlier_demo_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    Path("run/summary.json").write_text("{}")
    Path("run/notes.txt").write_text("mine")
    assert main(["demo", "--output", "run", "--wandb", "off"]) == 2
    assert "run was not made by an earlier demo (it has no .demo)" in capsys.readouterr().err
    assert sorted(path.name for path in Path("run").iterdir()) == ["notes.txt", "summary.json"]
