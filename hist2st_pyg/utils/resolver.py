"""One rule for every choice that is made by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def resolve(choices: Mapping[str, T], key: str, what: str) -> T:
    """Return ``choices[key]``, or explain what the choices are.

    Args:
        choices: The dictionary that holds every choice.
        key: The key a user gave.
        what: The name of the argument, used in the error.

    Raises:
        ValueError: If ``key`` is not one of the choices.
    """
    if not isinstance(key, str) or key not in choices:
        raise ValueError(f"Unknown {what}={key!r}. Choose one of: {', '.join(sorted(choices))}.")
    return choices[key]
