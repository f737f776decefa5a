"""The benchmarks that are no grid, and the training configurations."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "benchmarks" / "configs" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_training_configurations_parse(path: Path) -> None:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import train

    parser = ArgumentParser()
    train.build(parser, ["--config", str(path)])
    assert parser.parse_args(["--config", str(path)]).data.test


def test_the_paper_s_step_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import paper_step

    monkeypatch.setattr(paper_step, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["paper_step", "--spots", "4", "--genes", "5", "--views", "1", "--steps", "1"])
    paper_step.main()
    result = json.loads((tmp_path / "4_spots_1_views.json").read_text())
    assert result["peak_gib"] > 0.5
    assert result["parameters"] > 70_000_000
