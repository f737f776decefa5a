"""What the README shows is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from hist2st_pyg.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run_in_order() -> None:
    names: dict[str, Any] = {}
    assert len(blocks("python")) >= 3
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
    command, arguments = words[1], words[2:]
    parser = ArgumentParser()
    COMMANDS[command][0](parser, arguments)
    if command == "train":
        arguments = ["--config", *arguments]
    assert parser.parse_args(arguments)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.split()[1] for block in blocks("bash") for line in block.splitlines() if line.startswith("make ")}
    assert targets >= {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_and_files_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if not link.startswith("http")]
    files = re.findall(r"`((?:hist2st_pyg|tests|notebooks|benchmarks)/[\w./]+)`", text)
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert links or files or page == "benchmarks/README.md"
