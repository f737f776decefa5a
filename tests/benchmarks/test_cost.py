"""Tables and picture of the cost come from the result files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cost
from benchmarks.measures import exponent

VERSIONS = {"code": "abc", "torch": "2.13.0"}


def row(n: int, seconds: float, work: str = "graph", reference: float | None = 1.0) -> dict[str, Any]:
    return {
        "work": work, "n": n, "variant": "tree", "ours_seconds": seconds, "reference_seconds": reference,
        "ratio": None if reference is None else reference / seconds, "ours_peak_mb": 500.0,
        "reference_peak_mb": None if reference is None else 1250.0, "code": "abc",
    }  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    rows = [row(100, 0.5), row(1000, 5.0), row(10_000, 50.0, reference=None), row(300, 1.0, "patches")]
    result = {"device": "1 CPU threads", "versions": VERSIONS, "rows": rows}
    (folder / "speed.json").write_text(json.dumps(result))
    bins = [
        {"n": n, "cached": True, "train_seconds": n / 500, "train_peak_mb": 1100.0, "genes": 3, "patch_size": 14,
         "window": 200, "epochs": 1, "evaluate_seconds": 2.0, "evaluate_peak_mb": 900.0}
        for n in (1000, 2000)
    ]  # fmt: skip
    (folder / "scale.json").write_text(json.dumps({"rows": bins, "exponents": {"train": 1.0}, "versions": VERSIONS}))
    return folder


def test_a_row_stands_beside_the_reference_or_a_dash(results: Path) -> None:
    table = cost.speed(json.loads((results / "speed.json").read_text())).splitlines()
    assert table[2] == "| graph | 100 | tree | 0.5 | 1 | 2x | 0.5 | 1.2 |"
    assert table[4] == "| graph | 10,000 | tree | 50 | – | – | 0.5 | – |"
    assert table[-1] == "1 CPU threads; code: abc, torch 2.13.0."


def test_bins_are_told_with_their_exponent(results: Path) -> None:
    table = cost.scale(json.loads((results / "scale.json").read_text()))
    assert "| 2,000 | cached | 4 | 2 | 1.1 | 2 | 0.9 |" in table
    assert "Exponents, the slope of log seconds over log bins: train: 1.00." in table


def test_the_table_names_the_code_of_each_row() -> None:
    rows = [row(100, 0.5), {**row(200, 1.0), "code": "def"}, {**row(300, 1.0), "code": None}]
    table = cost.speed({"device": "1 CPU threads", "versions": VERSIONS, "rows": rows})
    assert table.splitlines()[-1] == "1 CPU threads; code: abc, def, torch 2.13.0."


def test_errors_are_compared_by_what_they_predict() -> None:
    pcc = {"target": 0.2, "counts": 0.3, "shares": 0.4}
    rows = [
        {"n": 9000, "depth": 3.0, "likelihood": None, "output": "expression", **pcc},
        {"n": 9000, "depth": 3.0, "likelihood": "poisson", "output": "mean", **pcc},
    ]
    table = cost.losses({"versions": VERSIONS, "rows": rows}).splitlines()
    assert table[2] == "| squared error | expression | 0.200 | 0.300 | 0.400 |"
    assert table[3] == "| squared error and `poisson` | mean | 0.200 | 0.300 | 0.400 |"
    assert table[-1].startswith("9,000 bins, mean counts of a bin: 3; code: abc")


def test_exponents_are_those_of_the_rows_and_one_size_makes_no_curve(results: Path) -> None:
    found = cost.curves(results)
    assert {name: round(exponent(*zip(*curve, strict=True)), 6) for name, curve in found.items()} == {
        "graph, tree": 1.0,
        "graph, tree: reference": 0.0,
        "hist2st train, an epoch and all before": 1.0,
    }
    labels = cost.drawn(found).axes[0].get_legend_handles_labels()[1]
    assert labels == [
        "graph, tree (N^1.00)",
        "graph, tree: reference (N^0.00)",
        "hist2st train, an epoch and all before (N^1.00)",
    ]


def test_the_command_writes_what_is_there_and_says_what_is_not(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(f"{start}\n<!-- end of table -->" for start in cost.TABLES))
    assert cost.main([str(results), "--into", str(page), "--picture", str(tmp_path / "cost.png")]) == 0
    assert page.read_text().count("Not measured yet.") == 3
    assert (tmp_path / "cost.png").is_file()


def test_no_result_of_two_sizes_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main([str(tmp_path)]) == 2
    assert (
        f"benchmarks.cost: {tmp_path} has no task measured at two sizes; run benchmarks.speed or"
        in capsys.readouterr().err
    )


def test_the_committed_page_is_what_the_results_say() -> None:
    page = (cost.HERE / "SPEED.md").read_text(encoding="utf-8")
    assert cost.with_tables(page, cost.HERE / "results") == page
