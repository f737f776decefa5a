"""Format any names as code in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable


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
