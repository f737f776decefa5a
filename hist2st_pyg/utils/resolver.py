"""Resolve a choice by its key, or check a choice of words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    check_choice(choices, key, what)
    return choices[key]


def check_choice(choices: Collection[str], key: object, what: str) -> None:
    """Raise the error of :func:`resolve` if ``key`` is not one of the choices."""
    if not isinstance(key, str) or key not in choices:
        raise ValueError(f"Unknown {what}={key!r}. Choose one of: {', '.join(sorted(choices))}.")
