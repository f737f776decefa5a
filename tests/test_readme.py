"""What the README shows is run."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run_in_order() -> None:
    names: dict[str, Any] = {}
    assert len(blocks("python")) >= 2
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["adata"].n_vars == 20


COMMAND_LINES = [
    shlex.split(line, comments=True)
    for block in blocks("bash")
    for line in block.splitlines()
    if line.startswith("hist2st")
]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=lambda words: " ".join(words[:3]))
def test_command_lines_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = importlib.import_module(f"hist2st_pyg.cli.{words[1]}")
    arguments = getattr(command, "arrange", list)(words[2:])
    parser = ArgumentParser()
    command.build(parser, arguments)
    parser.parse_args(arguments)


BENCHMARK_LINES = [
    shlex.split(line, comments=True)
    for page in ("README.md", "benchmarks/README.md", "benchmarks/ACCURACY.md")
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
    if line.startswith("python -m benchmarks.")
]


@pytest.mark.parametrize("words", BENCHMARK_LINES, ids=" ".join)
def test_benchmark_commands_exist(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(words[2])
    with pytest.raises(SystemExit) as done:
        module.main(["--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert [word for word in words[3:] if word.startswith("--") and word not in text] == []
    assert [
        word for word in words if word.endswith(".yaml") and word != "GRID.yaml" and not (ROOT / word).exists()
    ] == []


def test_the_tables_are_those_of_the_result_files() -> None:
    from benchmarks.report import read_cells, readme_table

    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert readme_table(read_cells(ROOT / "benchmarks" / "results")) in page


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make ([a-z-]+)`", README))
    assert targets >= {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_readme_is_short_and_its_manual_lies_on_the_site() -> None:
    assert len(README.splitlines()) <= 130
    assert max(len(line) for line in README.splitlines() if not line.startswith("|")) <= 120
    site = re.findall(r"https://hist2st-pyg\.readthedocs\.io/en/latest/(\w+)\.html", README)
    assert len(site) >= 3
    assert [page for page in site if not (ROOT / "docs" / f"{page}.md").exists()] == []


def test_its_pictures_are_small_and_of_a_section() -> None:
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", README)
    assert [path for _, path in pictures] == [f"docs/images/strip_{name}.png" for name in ("synthetic", "her2st")]
    for text, path in pictures:
        assert "measured" in text
        assert "predicted" in text
        assert (ROOT / path).stat().st_size < 300_000
        with Image.open(ROOT / path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 1.5 * picture.height


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_and_files_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("http")]
    files = re.findall(r"`((?:hist2st_pyg|tests|notebooks|benchmarks)/[\w./]+)`", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert links or files or page == "benchmarks/README.md"
