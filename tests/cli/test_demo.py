from __future__ import annotations

from pathlib import Path

import pytest

from hist2st_pyg import demo
from hist2st_pyg.cli import main


def test_a_demo_that_cannot_start_removes_no_earlier_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    for name in (demo.MARKER, "summary.json"):
        Path("out", name).touch()
    assert main(["demo", "--output", "out", "--wandb", "off", "--gnn", "gatt"]) == 2
    assert "Unknown gnn='gatt'" in capsys.readouterr().err
    assert Path("out/summary.json").exists()
