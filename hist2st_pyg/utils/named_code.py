"""Import the code that a configuration names (``class_path`` or an import path), only if the user trusts it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

TRUST = "--trust-code"
"""The option of the command line that allows it."""
CLASS_PATH, ARGUMENTS = "class_path", "init_args"


class UntrustedCodeError(ValueError):
    """A configuration names code; the message says where."""


def refuse_code(values: Any, where: str, by_key: Collection[str] = (), option: str | None = TRUST) -> None:
    """Refuse a configuration that names code, without importing it.

    Args:
        values: Plain values, as a YAML or JSON file holds them.
        where: The file, for the error.
        by_key: Dotted keys of choices, whose value may also be an import path (``"module.Class"``).
        option: The option that allows it, for the error; None if there is none.

    Raises:
        UntrustedCodeError: The message names the file and the key.
    """
    seen: set[int] = set()  # visit a YAML alias once

    def walk(value: Any, key: str) -> None:
        if isinstance(value, str) and key in by_key and "." in value:
            raise UntrustedCodeError(_refusal(where, key, value, option))
        if not isinstance(value, dict | list) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, dict) and CLASS_PATH in value:
            raise UntrustedCodeError(_refusal(where, key, value[CLASS_PATH], option))
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            walk(item, f"{key}.{name}" if key else str(name))

    walk(values, "")


def _refusal(where: str, key: str, code: Any, option: str | None) -> str:
    way = f", or give {option} if you trust it" if option is not None else ""
    return f"{where}: {key or 'the value'} names code, {code!r}, which would be run. Name a key instead{way}."


def load_code(value: Any, key: str) -> Any:
    """The class or function that a trusted configuration names; other values are returned unchanged.

    The working folder is added to Python's import path.

    Args:
        value: An import path ``"module.Class"``, or ``class_path`` with or without ``init_args``, its arguments.
        key: The dotted key, for errors.

    Raises:
        ImportError: If there is no such class or function.
    """
    arguments: dict[str, Any] = {}
    path = value
    if isinstance(value, dict) and CLASS_PATH in value:
        path, arguments = value[CLASS_PATH], value.get(ARGUMENTS) or {}
    if not isinstance(path, str) or "." not in path:
        return value
    module, _, name = path.rpartition(".")
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(f"{key}: there is no class or function {path}: {error}") from error
    return partial(found, **arguments) if arguments else found
