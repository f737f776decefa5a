"""The order of the rooms, as CONTRIBUTING.md prints it, holds for every import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hist2st_pyg"


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
