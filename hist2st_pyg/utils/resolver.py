"""Resolve a choice by its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def resolve(choices: Mapping[str, T], key: str, what: str) -> T:
    """Return ``choices[key]``, or raise an error that lists the choices.

    Args:
        choices: All choices by key.
        key: The key that the user chose.
        what: The name of the argument, for the error.

    Raises:
        ValueError: If ``key`` is not one of the choices.

    >>> resolve({"mean": min, "max": max}, "max", "aggr")
    <built-in function max>
    """
    if not isinstance(key, str) or key not in choices:
        raise ValueError(f"Unknown {what}={key!r}. Choose one of: {', '.join(sorted(choices))}.")
    return choices[key]
