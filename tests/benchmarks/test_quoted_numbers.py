"""Numbers in the pages' prose against the result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quoted_numbers import HERE, PAGES, main, value, with_numbers, without_source


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for model, scores in {"a": (0.1, 0.2), "b": (0.4, 0.5)}.items():
        for seed, score in enumerate(scores):
            path = tmp_path / "results" / "fold" / model / f"{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"metrics": {"pcc": score, "share": score / 0.5}, "seconds": [1000, 3000]}))
    return tmp_path / "results"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fold/a/*.json metrics.pcc", 0.15),
        ("fold/*/*.json metrics.pcc", 0.3),
        ("min fold/*/*.json metrics.pcc", 0.15),
        ("max fold/*/*.json metrics.pcc", 0.45),
        ("fold/b/*.json metrics.pcc - max fold/a/*.json metrics.pcc", 0.3),
        ("fold/a/0.json seconds.1 / 1000", 3.0),
    ],
)
def test_what_a_source_stands_for(source: str, expected: float, results: Path) -> None:
    assert value(source, results) == pytest.approx(expected)


def test_numbers_are_written_in_the_form_they_had(results: Path) -> None:
    a, b = "fold/a/*.json metrics.pcc", "fold/b/*.json metrics.pcc"
    share, seconds = "fold/b/*.json metrics.share", "fold/a/0.json seconds.1"
    text = f"9.999<!-- {b} --> +1.0<!-- {a} - {b} --> 1 %<!-- {share} --> 1,000<!-- {seconds} --> 0.77<!-- other -->"
    assert with_numbers(text, results) == (
        f"0.450<!-- {b} --> −0.3<!-- {a} - {b} --> 90 %<!-- {share} --> 3,000<!-- {seconds} --> 0.77<!-- other -->"
    )


def test_a_number_without_a_source_is_found() -> None:
    text = "From `0.111` and 0.222<!-- a/*.json x --> to 0.333 in Python 3.11.\n0.666.\n```\n0.444\n```\n"
    text += "<!-- log -->0.555<!-- end of log -->"
    assert without_source(text) == ["From  and  to 0.333", "0.666"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none/*.json x", "No result file in .* matches 'none/\\*.json'"),
        ("fold/a/*.json metrics.absent", "0.json has no number under 'metrics.absent'"),
        ("median fold/a/*.json metrics.pcc", "must have the form"),
    ],
)
def test_a_wrong_source_is_refused(source: str, message: str, results: Path) -> None:
    with pytest.raises(ValueError, match=message):
        value(source, results)


def test_the_command_checks_and_writes(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("0.999<!-- fold/a/*.json metrics.pcc -->")
    assert main([str(page), "--results", str(results), "--check"]) == 1
    assert page.read_text().startswith("0.999")
    assert main([str(page), "--results", str(results)]) == 0
    assert page.read_text() == "0.150<!-- fold/a/*.json metrics.pcc -->"
    assert main([str(page), "--results", str(results), "--check"]) == 0
    assert main([str(page), "--results", str(tmp_path / "none")]) == 2
    assert "No result file" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_number_of_the_pages_is_that_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_numbers(text, HERE / "results") == text
    assert without_source(text) == []
