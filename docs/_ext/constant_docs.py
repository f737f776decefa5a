"""The text of constants: what stands below them in the file that defines them, and the keys of dictionaries.

Sphinx reads that text in the file that defines a constant alone; users import most from its room.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from same_object import defined


def text(name: str) -> list[str]:
    """What the package says of a constant, in lines.

    Args:
        name: Its full name.
    """
    from sphinx.pycode import ModuleAnalyzer

    module, _, last = name.rpartition(".")
    value = getattr(import_module(module), last)
    for place in (full.rpartition(".")[0] for full in defined(last)):
        lines = ModuleAnalyzer.for_module(place).find_attr_docs().get(("", last))
        if lines and getattr(import_module(place), last) is value:
            return [*lines, *_keys(value)]
    return _keys(value)


def _keys(value: Any) -> list[str]:
    return [f"Keys: {', '.join(f'``{key}``' for key in sorted(value))}.", ""] if isinstance(value, dict) else []


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Answer to autodoc's ``autodoc-process-docstring``."""
    if what == "data" and name.startswith("hist2st_pyg."):
        lines[:] = text(name)


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx of it."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
