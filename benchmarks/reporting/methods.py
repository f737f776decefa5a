"""Read the published methods of a report, with their changes, from ``docs/methods.md``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.cells import Group

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
"""The page with the table, the only description of the methods."""

INTRODUCTION = "What is as its authors published it, and what is not; `docs/methods.md` names the sources."


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Args:
        key: The model's key.
        published: The parts as published.
        changed: The changed parts.
        source: Paper and program, with links in Markdown.
    """

    key: str
    published: str
    changed: str
    source: str


def read_methods(path: Path = PAGE) -> list[Method]:
    """Read the rows of the page's table.

    Args:
        path: The page.

    Raises:
        ValueError: If a row has another number of cells, or an empty cell.
    """
    methods = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not (found := re.match(r"\| `(\w+)` \|(.*)\|$", line)):
            continue
        cells = [cell.strip() for cell in found[2].split(" | ")]
        if len(cells) != 3 or not all(cells):
            raise ValueError(f"{path}, line {number}: a method needs three cells: published, changed, source.")
        methods.append(Method(found[1], *cells))
    return methods


def methods_of(groups: Iterable[Group], path: Path = PAGE) -> list[Method]:
    """Select the published methods with a result in one of the groups, in the page's order."""
    used = {cell["config"]["model"].get("name", "hist2st") for group in groups for cell in group.cells}
    return [method for method in read_methods(path) if method.key in used]
