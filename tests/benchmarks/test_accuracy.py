"""The accuracy tables, against the committed result files they are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import accuracy
from benchmarks.reporting.accuracy_pictures import time_to_accuracy
from benchmarks.reporting.cells import Cell, read_cells
from hist2st_pyg.metrics.ceiling import COVERS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "accuracy"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return read_cells(RESULTS)


@pytest.mark.parametrize("name", ["README.md", "benchmarks/ACCURACY.md"])
def test_committed_tables_are_those_of_the_results(name: str, cells: list[Cell]) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert accuracy.with_tables(text, cells) == text


def test_the_readme_has_the_summary_and_the_page_the_whole_table() -> None:
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "benchmarks/ACCURACY.md"))
    starts = list(accuracy.TABLES)
    assert [start in readme for start in starts] == [False, True, False, False]
    assert [start in page for start in starts] == [True, False, True, True]


def test_the_summary_compares_with_the_best_regression_and_says_whose_patient_was_seen(cells: list[Cell]) -> None:
    groups = accuracy.by_split(cells, accuracy.SPLITS)
    head, _, *rows = (
        [text.strip() for text in line.split("|")[1:-1]] for line in accuracy.summary(groups).splitlines()
    )
    assert head == [
        "train → test", "test patient", "`small`", *(f"`{name}`" for name in accuracy.REFERENCES),
        "`small` − the best of these [95 %]", "attainable",
    ]  # fmt: skip
    assert [row[0] for row in rows] == list(groups)
    for row, group in zip(rows, groups.values(), strict=True):
        small, *regressions = (
            np.mean([cell["metrics"]["pcc_mean"] for cell in group.of(name)])
            for name in ("small", *accuracy.REFERENCES)
        )
        assert row[2].startswith(f"{small:.3f} ± ")
        assert float(row[-2].split()[0].replace("−", "-")) == pytest.approx(small - max(regressions), abs=2e-3)
        assert row[1] == ("never seen" if row[0][:2] in ("b:", "c3") else "also trains")


def test_every_split_has_the_preset_with_five_seeds_and_what_it_is_compared_with(cells: list[Cell]) -> None:
    groups = accuracy.by_split(cells, accuracy.SPLITS)
    assert [title.partition(":")[0] for title in groups] == list(accuracy.SPLITS)
    for title, group in groups.items():
        assert [cell["seed"] for cell in group.of("small")] == [0, 1, 2, 3, 4], title
        assert set(accuracy.REFERENCES) <= set(group.models()), title


def test_the_notes_say_whose_patients_are_known_and_which_code_made_the_results(cells: list[Cell]) -> None:
    covers, known, unseen, code = accuracy.notes(accuracy.by_split(accuracy.parted(cells)[0], accuracy.SPLITS))
    assert covers == COVERS
    assert known == "a, c2 and d: the test patient also trains, by another section or part of one."
    assert unseen == "b and c3: the test patient was never seen."
    assert code.removeprefix("Code: ").removesuffix(".").split(", ") == sorted(
        {cell["versions"]["code"] for cell in accuracy.parted(cells)[0] if cell["fold"] in accuracy.SPLITS}
    )


def test_a_score_is_the_mean_over_seeds_and_its_share_of_the_ceiling(cells: list[Cell]) -> None:
    group = accuracy.by_split(cells, accuracy.SPLITS)["a: C2, C3 → C4"]
    files = sorted((RESULTS / "accuracy_her2st" / "explicit_sections" / "a" / "small").glob("*.json"))
    found = [json.loads(path.read_text()) for path in files]
    scores = [np.mean([v for v in f["per_gene"].values() if v is not None]) for f in found]
    share = np.mean(scores) / found[0]["metrics"]["ceiling_pcc_mean"]
    expected = f"| `small` | {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f} ({share:.0%})".replace("%", " %")
    assert expected in accuracy.table({"a": group})


def test_a_change_is_bold_outside_the_range_of_the_networks_seeds(cells: list[Cell]) -> None:
    groups = accuracy.by_split(cells, accuracy.SPLITS)
    rows = [line.split(" | ") for line in accuracy.changes(cells).splitlines()[2:] if line.startswith("|")]
    assert len(rows) >= 5
    bold = 0
    for name, *texts in rows:
        for text, group in zip(texts, groups.values(), strict=True):
            own = [cell["metrics"]["pcc_mean"] for cell in group.of("networks")]
            (found,) = [cell["metrics"]["pcc_mean"] for cell in group.of(name.strip("|` "))]
            assert float(text.strip("*| ").replace("−", "-")) == pytest.approx(found - np.mean(own), abs=6e-4)
            assert ("**" in text) == (not min(own) <= found <= max(own))
            bold += "**" in text
    assert 0 < bold < len(rows) * len(groups)


def test_the_command_writes_tables_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = next(iter(accuracy.TABLES))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{start}\n<!-- end of table -->\nafter\n")
    assert accuracy.main([str(RESULTS), "--into", str(page), "-o", str(tmp_path / "pictures")]) == 0
    printed = capsys.readouterr().out
    assert page.read_text() == f"before\n{start}\n{printed.strip()}\n<!-- end of table -->\nafter\n"
    assert Image.open(tmp_path / "pictures" / "share_of_ceiling.png").size[0] > 600


def test_time_is_drawn_against_accuracy_where_it_is_known(cells: list[Cell]) -> None:
    groups = accuracy.by_split([{**cell, "processor_seconds": 10.0} for cell in cells], {"a": "a"})
    figure = time_to_accuracy(groups)
    assert figure is not None
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_xydata()[0] for line in axes.lines}
    assert set(drawn) == set(groups["a"].models())
    for name in drawn:
        pcc = np.mean([cell["metrics"]["pcc_mean"] for cell in groups["a"].of(name)])
        assert drawn[name] == pytest.approx([10.0, pcc])
    untimed = [{name: value for name, value in cell.items() if name != "processor_seconds"} for cell in cells]
    assert time_to_accuracy(accuracy.by_split(untimed, {"a": "a"})) is None


def test_what_is_missing_is_named(tmp_path: Path, capsys: Any) -> None:
    assert accuracy.main([str(tmp_path)]) == 2
    assert f"There is no result in {tmp_path}" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("no table")
    assert accuracy.main([str(RESULTS), "--into", str(page), "-o", str(tmp_path)]) == 2
    assert "needs the line '<!-- table: benchmarks.accuracy -->'" in capsys.readouterr().err
