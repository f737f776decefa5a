from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

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


def test_its_options_are_the_demo_s_arguments_with_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    @functools.wraps(demo.demo)
    def record(**arguments: Any) -> None:
        given.append(arguments)

    monkeypatch.setattr(demo, "demo", record)
    assert main(["demo"]) == 0
    assert main(["demo", "--output", "out", "--seed=3", "--gnn", "gat"]) == 0
    defaults = {name: parameter.default for name, parameter in inspect.signature(demo.demo).parameters.items()}
    assert given == [defaults, {**defaults, "output": "out", "seed": 3, "gnn": "gat"}]
