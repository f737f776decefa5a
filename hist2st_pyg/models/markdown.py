"""Markdown of any names and texts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

WIDTH = 120
"""Largest number of characters of a line."""


def code(name: str) -> str:
    """Format a name as code; longer fences enclose backticks, and line breaks become spaces.

    >>> code("A1"), code("a`b")
    ('`A1`', '`` a`b ``')
    """
    text = " ".join(name.split())
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(len(run) for run in re.findall("`+", text)))
    return f"{fence} {text} {fence}"


def code_list(names: Iterable[str]) -> str:
    """Format names as code, separated by commas."""
    return ", ".join(map(code, names))


def wrapped(text: str) -> str:
    """Break the lines of paragraphs and lists at 120 characters; code, tables, pictures and headings stay.

    >>> [len(line) for line in wrapped("- " + 40 * "word ").splitlines()]
    [116, 86]
    """
    lines: list[str] = []
    in_code = False
    for line in text.split("\n"):
        in_code ^= line.startswith("```")
        if in_code or len(line) <= WIDTH or line.startswith(("|", "![", "<", "#")):
            lines.append(line)
            continue
        indent = re.match(r" *(?:[-*] |\d+\. )?", line).end()  # type: ignore[union-attr]  # it always matches
        wrapper = textwrap.TextWrapper(
            WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
        lines += wrapper.wrap(line)
    return "\n".join(lines)
