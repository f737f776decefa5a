"""The order of the rooms that CONTRIBUTING.md prints holds for every import; the tests stand as the modules do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hist2st_pyg"
TESTS = ROOT / "tests"

ACROSS = {
    "cli/test_main.py": "how every command ends",
    "datasets/test_guess.py": "a folder is told from those of all data sets",
    "models/test_batching.py": "every model, encoder and layer in a batch",
    "nn/test_gnn_hops.py": "how far every layer reads",
    "nn/test_pyg_convs.py": "every convolution of PyG",
    "training/test_lightning.py": "task and data module in Lightning's own trainer",
    "training/test_original_step.py": "a step against the original program's",
}
"""Tests of a room that are of no single module, and of what they are. Those of its ``__init__`` are named as it is."""


def printed_order() -> list[str]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^`utils` →[^.]*\.$", text, flags=re.MULTILINE)
    return re.findall(r"`(\w+)`", line)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in PACKAGE.rglob("*.py")}


def imports(file: Path) -> Iterator[str]:
    """The modules of the package that a file imports: at its top, inside its functions, and for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner if node.module in MODULES)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


def imported_rooms(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(file) if "." in name}


def test_every_room_is_in_the_printed_order() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.name[0] != "_" and path.suffix in ("", ".py")}
    order = printed_order()
    assert len(order) == len(set(order))
    assert set(order) == rooms


@pytest.mark.parametrize("room", printed_order())
def test_a_room_imports_only_from_rooms_before_it(room: str) -> None:
    order = printed_order()
    before = set(order[: order.index(room) + 1])
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").is_file() else sorted((PACKAGE / room).rglob("*.py"))
    assert files
    assert {str(file): later for file in files if (later := imported_rooms(file) - before)} == {}


def test_no_file_imports_itself_by_a_detour() -> None:
    graph = {name: set(imports(file)) - {name} for name, file in MODULES.items() if name != "hist2st_pyg"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def named_as_modules() -> set[str]:
    """The files of tests that are called as a module, without the underscore of a private one."""
    files = (file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py") if not file.name.startswith("__"))
    return {str(file.with_name(f"test_{file.name.lstrip('_')}")) for file in files}


def test_every_module_has_a_file_of_tests_of_its_name() -> None:
    assert sorted(file for file in named_as_modules() if not (TESTS / file).is_file()) == []


def test_the_tests_of_a_room_are_called_as_its_modules() -> None:
    rooms = [room for room in printed_order() if (TESTS / room).is_dir()]
    files = {f"{room}/{file.name}" for room in rooms for file in (TESTS / room).glob("test_*.py")}
    others = files - named_as_modules() - {f"{room}/test_{room}.py" for room in rooms}
    assert sorted(others) == sorted(ACROSS)
