"""The table of speed, at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import speed

SMALLEST = {"train_step": "1 views", "inference": "local", "graph": "dense", "patches": "cached"}


@pytest.mark.parametrize("work", sorted(speed.WORKS))
@pytest.mark.parametrize("ours", [True, False])
def test_each_case_is_measured(work: str, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "GENES", 3)
    found = speed.measure(work, 9, SMALLEST[work], ours, "cpu", 1)
    assert found["seconds"] > 0
    assert found["peak_mb"] > 100


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


def test_exponents_are_slopes_over_three_sizes() -> None:
    rows = [{"work": "graph", "variant": "tree", "n": n, "ours_seconds": 3e-6 * n**1.2} for n in (10, 100, 1000)]
    assert speed.exponents(rows) == {"graph, tree": pytest.approx(1.2)}
    assert speed.exponents(rows[:2]) == {}
