from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "benchmarks" / "configs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_a_cell_is_written(tmp_path: Path) -> None:
    from benchmarks import run

    config = {
        "preset": "small",
        "data": {
            "name": "synthetic", "root": None, "test": ["B1"], "n_genes": 8, "patch_size": 28,
            "options": {"patients": 2, "sections_per_patient": 1, "spots": 48, "genes": 20, "noise_genes": 4},
        },
        "model": {"vision_kwargs": {"channels": [8], "out_channels": 16}},
    }  # fmt: skip
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(config))
    path = run.run(tmp_path / "made.yaml", "gat", 3, results=tmp_path, epochs=1)
    assert path == tmp_path / "made" / "gat" / "3.json"
    cell = json.loads(path.read_text())
    assert cell["sections"] == {"train": ["A/A1"], "val": [], "test": ["B/B1"]}
    assert cell["metrics"]["seen_in_training"] == []
    assert len(cell["test"]["B1"]["per_gene"]) == 8
    assert cell["config"]["model"]["gnn"] == "gat"
    assert str(tmp_path) not in path.read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_parse(path: Path) -> None:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import COMMANDS

    parser = ArgumentParser()
    COMMANDS["train"][0](parser, [str(path)])
    assert parser.parse_args(["--config", str(path)]).data.test


def test_the_readme_s_table_is_that_of_the_result_files() -> None:
    from benchmarks import table

    text = table.README.read_text(encoding="utf-8")
    assert table.table(table.read()) in text


def test_the_table_from_made_cells() -> None:
    from benchmarks import table

    def cell(pcc: float, seed: int) -> dict[str, object]:
        return {
            "metrics": {"pcc_mean": pcc, "rmse": 0.5}, "seconds": {"fit": 60.0}, "seed": seed,
            "test": {"C4": {"n_scored": 785}},
        }  # fmt: skip

    text = table.table({"her2st_a": {"sage": [cell(0.2, 0), cell(0.3, 1)], "none": [cell(0.1, 0)]}})
    assert "| a: C2+C3 → C4, same patient | 0.250 ± 0.071 | 0.100 ± 0.000 | 0.500 ± 0.000 | 60–60 s |" in text


def test_the_paper_s_step_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import paper_step

    monkeypatch.setattr(paper_step, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["paper_step", "--spots", "4", "--genes", "5", "--views", "1", "--steps", "1"])
    paper_step.main()
    result = json.loads((tmp_path / "4_spots_1_views.json").read_text())
    assert result["peak_gib"] > 0.5
    assert result["parameters"] > 70_000_000
