"""The documentation's sources: what they name is there, and what they show runs. ``make docs`` builds the pages."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

import hist2st_pyg
from hist2st_pyg.cli import COMMANDS
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.training import config_dict, preset_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("api/*.md")])
INITS = [path for path in (ROOT / "hist2st_pyg").glob("*/__init__.py") if "__all__" in path.read_text(encoding="utf-8")]
ROOMS = ["hist2st_pyg", *sorted(f"hist2st_pyg.{path.parent.name}" for path in INITS)]


def listed() -> Iterator[str]:
    """The full names in the pages' autosummary tables."""
    for page in DOCS.glob("api/*.md"):
        for block in re.findall(r"```{eval-rst}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            for module in re.findall(r"currentmodule:: (\S+)", block):
                yield from (f"{module}.{name}" for name in re.findall(r"^   (\w+)$", block, flags=re.MULTILINE))


LISTED = sorted(listed())


def value(name: str) -> Any:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_its_page(room: str) -> None:
    """A name that a room shares with another is listed once."""
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("api/*.md"))
    missing = []
    for name in importlib.import_module(room).__all__:
        found = getattr(importlib.import_module(room), name)
        if inspect.ismodule(found):
            there = f"{found.__name__}\n" in text
        else:
            there = any(full.endswith(f".{name}") and value(full) is found for full in LISTED)
        missing += [] if there else [name]
    assert missing == []


def test_each_listed_name_is_public_and_listed_once() -> None:
    assert len(LISTED) == len(set(LISTED))
    for full in LISTED:
        module, _, name = full.rpartition(".")
        assert name in importlib.import_module(module).__all__, full
    objects = [id(value(full)) for full in LISTED if inspect.isclass(value(full)) or inspect.isfunction(value(full))]
    assert len(objects) == len(set(objects))


def preset_rows() -> list[tuple[str, str, str]]:
    text = (DOCS / "method.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `((?:data|model|training)\.\w+)` \| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("key", "paper", "small"), preset_rows())
def test_the_table_of_the_presets_is_theirs(key: str, paper: str, small: str) -> None:
    part, _, name = key.partition(".")
    for preset, printed in (("paper", paper), ("small", small)):
        values = config_dict(preset_config(preset))[part]
        expected = values[name] if part != "model" else values.get(name, parameters_of(MODELS["hist2st"]).get(name, ""))
        try:
            shown = float(printed)  # YAML takes 1e-5 for a text
        except ValueError:
            shown = yaml.safe_load(printed)
        assert shown == expected, preset


def test_the_table_of_the_presets_is_found() -> None:
    assert len(preset_rows()) > 20


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(DOCS / "_ext")
    yield importlib.import_module("command_line")
    sys.modules.pop("command_line")


def test_the_command_line_is_that_of_the_parsers(command_line: Any) -> None:
    found = dict(command_line.sections())
    assert {heading.split()[1] for heading in found} == set(COMMANDS)
    assert {"hist2st download her2st", "hist2st download cscc"} <= set(found)
    train = "\n".join(found["hist2st train"])
    assert "**--data.***" in train
    assert "**--training.view_augmentation.***" in train
    assert "``--data.k`` (int, default ``6``)" in train
    assert "torch.nn" not in train
    assert "SUPPRESS" not in train
    predict = found["hist2st predict"]
    assert "``--output``, ``-o`` (str, required)" in predict
    assert "``--overwrite`` (flag, default ``False``)" in predict


def test_stars_of_file_names_are_no_emphasis(command_line: Any) -> None:
    assert command_line._plain_stars("her2st's *_labels.tsv, ``a*b``") == r"her2st's \*_labels.tsv, ``a*b``"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_included_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) + re.findall(r"{include} (\S+)", text)
    files = [page.parent / link for link in links if not link.startswith("http")]
    gone = [file for file in files if not any(Path(f"{file}{end}").exists() for end in ("", ".md", ".ipynb"))]
    assert gone == []


def test_references_to_names_are_to_names_that_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"{(?:class|func|data)}`~?(hist2st_pyg\.[\w.]+)`", page.read_text(encoding="utf-8")):
            assert value(name) is not None, f"{page.name}: {name}"


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_page_with_python_is_run() -> None:
    assert {page.stem for page in DOCS.glob("*.md") if python_blocks(page.stem)} == {
        "guide", "layers", "start", "training"
    }  # fmt: skip


@pytest.mark.parametrize("block", python_blocks("guide"))
def test_the_readers_of_the_guide_know_the_options_that_it_gives(block: str) -> None:
    """An unknown option is an error before a file is looked for."""
    with pytest.raises(FileNotFoundError):
        exec(compile(block, "guide.md", "exec"), {"h": hist2st_pyg})


@pytest.mark.parametrize("page", ["layers", "training", pytest.param("start", marks=pytest.mark.slow)])
def test_python_blocks_run_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(page)
    assert blocks
    # In a file, as a user's are: PyG reads the source of a layer's class.
    (tmp_path / f"page_{page}.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(importlib.import_module(f"page_{page}").model, hist2st_pyg.Hist2ST)


LINES = [
    shlex.split(line, comments=True)
    for page in PAGES
    for line in re.findall(r"^hist2st [a-z]+ .*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
]


@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words[:3]))
def test_command_lines_parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = importlib.import_module(f"hist2st_pyg.cli.{words[1]}")
    arguments = getattr(command, "arrange", list)(words[2:])
    parser = ArgumentParser()
    command.build(parser, arguments)
    parser.parse_args(arguments)


def test_lines_of_text_end_at_120_characters() -> None:
    root = DOCS.parent
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=False)
    pages = [root / name for name in listed.stdout.split()] or [*PAGES, root / "README.md", root / "CONTRIBUTING.md"]
    for page in pages:
        in_code = False
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            in_code ^= line.startswith("```")
            assert in_code or len(line) <= 120 or line.startswith(("|", "![", "<!--")), f"{page}:{number}"
