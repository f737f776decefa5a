"""The table of speed, at its smallest."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import speed

SMALLEST = {"train_step": "1 views", "inference": "local", "graph": "dense", "patches": "cached", "fit": "kernel_ridge"}


@pytest.mark.parametrize("work", sorted(speed.WORKS))
@pytest.mark.parametrize("ours", [True, False])
def test_each_case_is_measured(work: str, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "GENES", 3)
    found = speed.measure(work, 9, SMALLEST[work], ours, "cpu", 1)
    assert found["seconds"] > 0
    assert found["peak_mb"] > 100


def test_many_spots_are_predicted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "GENES", 3)
    monkeypatch.setattr(speed, "ATTENDED_SPOTS", 8)
    monkeypatch.setattr(speed, "DISTINCT_PATCHES", 4)
    found = speed.inference(9, "local", True, "cpu")()
    assert found.values["expression"].shape == (9, 3)
    assert np.ptp(found.values["expression"], axis=0).min() > 0


@pytest.mark.slow
def test_a_row_compares_ours_with_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    options = ["--works", "graph", "--graph", "200", "--repeats", "1", "--output", str(path)]
    assert speed.main(options) == 0
    result = json.loads(path.read_text())
    dense, tree = result["rows"]
    assert (dense["work"], dense["n"], dense["variant"], tree["variant"]) == ("graph", 200, "dense", "tree")
    for row in (dense, tree):
        assert row["ratio"] == pytest.approx(row["reference_seconds"] / row["ours_seconds"])
        assert min(row["ours_peak_mb"], row["reference_peak_mb"]) > 100
    assert result["exponents"] == {}


@pytest.mark.parametrize(
    ("work", "spots", "has"), [("fit", 9, False), ("inference", 9000, False), ("graph", 9000, True)]
)
def test_what_the_published_way_cannot_do_stands_alone(
    work: str, spots: int, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(command: list[str], **_: object) -> SimpleNamespace:
        ours = json.loads(command[-1])[3]
        return SimpleNamespace(stdout=json.dumps({"seconds": 2.0 if ours else 3.0, "peak_mb": 100.0}).encode())

    monkeypatch.setattr(speed.subprocess, "run", ran)
    row = speed.compare(work, spots, "local", "cpu", 1, 1)
    assert (row["ours_seconds"], row["ratio"]) == (2.0, 1.5 if has else None)
    assert (row["reference_peak_mb"] is None) == (not has)


def test_a_call_keeps_the_rows_it_does_not_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.json"
    seconds = iter((3.0, 2.0, 1.0))

    def compare(work: str, spots: int, variant: str, *_: object) -> dict[str, object]:
        return {"work": work, "n": spots, "variant": variant, "ours_seconds": next(seconds)}

    monkeypatch.setattr(speed, "compare", compare)
    for works, spots in (("graph", "30000"), ("graph", "40000"), ("graph", "30000")):
        assert speed.main(["--works", works, "--graph", spots, "--output", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [(row["n"], row["ours_seconds"]) for row in rows] == [(30_000, 1.0), (40_000, 2.0)]
    assert all("code" in row for row in rows)


def test_rows_of_another_device_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.json"
    path.write_text(json.dumps({"device": "a GPU", "versions": {}, "rows": []}))
    assert speed.main(["--works", "graph", "--output", str(path)]) == 2
    assert f"{path} has rows of a GPU, this is" in capsys.readouterr().err
    assert json.loads(path.read_text())["device"] == "a GPU"


def test_exponents_are_slopes_over_three_sizes() -> None:
    rows = [{"work": "graph", "variant": "tree", "n": n, "ours_seconds": 3e-6 * n**1.2} for n in (10, 100, 1000)]
    assert speed.exponents(rows) == {"graph, tree": pytest.approx(1.2)}
    assert speed.exponents(rows[:2]) == {}
