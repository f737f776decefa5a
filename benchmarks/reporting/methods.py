"""The published methods of a report: what is as published, and what is changed, as ``docs/methods.md`` says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.cells import Group

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
"""The page whose table is quoted; a method is described nowhere else."""

INTRODUCTION = "What is as its authors published it, and what is not; `docs/methods.md` names the sources."


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        key: The model's key.
        published: What is as published.
        changed: What is not.
        source: Paper and program, with Markdown's links.
    """

    key: str
    published: str
    changed: str
    source: str


def read_methods(path: Path = PAGE) -> list[Method]:
    """The rows of the page's table.

    Args:
        path: The page.

    Raises:
        ValueError: If a row of a method has another number of cells, or an empty one.
    """
    methods = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not (found := re.match(r"\| `(\w+)` \|(.*)\|$", line)):
            continue
        cells = [cell.strip() for cell in found[2].split(" | ")]
        if len(cells) != 3 or not all(cells):
            raise ValueError(f"{path}, line {number}: a method has what is published, what is changed and its source.")
        methods.append(Method(found[1], *cells))
    return methods


def methods_of(groups: Iterable[Group], path: Path = PAGE) -> list[Method]:
    """The published methods that have a result in one of the groups, in the page's order."""
    used = {cell["config"]["model"].get("name", "hist2st") for group in groups for cell in group.cells}
    return [method for method in read_methods(path) if method.key in used]
