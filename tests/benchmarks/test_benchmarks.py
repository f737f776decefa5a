"""The benchmarks that are no grid, and the training configurations."""

from __future__ import annotations

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
