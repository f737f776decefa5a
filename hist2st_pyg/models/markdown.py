"""Names as code in Markdown, whatever is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def code(name: str) -> str:
    """A name as code; more backticks enclose one that has some, and line breaks become spaces.

    >>> code("A1"), code("a`b")
    ('`A1`', '`` a`b ``')
    """
    text = " ".join(name.split())
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(len(run) for run in re.findall("`+", text)))
    return f"{fence} {text} {fence}"


def code_list(names: Iterable[str]) -> str:
    """Names as code, with commas between them."""
    return ", ".join(map(code, names))
