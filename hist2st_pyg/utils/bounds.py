"""Check the numbers of a configuration when it is constructed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, NamedTuple


class Bound(NamedTuple):
    """A condition on a number.

    Args:
        text: The condition in words, after "must be": ``"at least 1"``.
        holds: Returns whether a number meets it.
    """

    text: str
    holds: Callable[[float], bool]


def at_least(low: float) -> Bound:
    """``low`` or more."""
    return Bound(f"at least {low}", lambda value: value >= low)


def at_most(high: float) -> Bound:
    """``high`` or less."""
    return Bound(f"at most {high}", lambda value: value <= high)


def above(low: float) -> Bound:
    """More than ``low``."""
    return Bound(f"above {low}", lambda value: value > low)


def between(low: float, high: float) -> Bound:
    """From ``low`` to ``high``."""
    return Bound(f"from {low} to {high}", lambda value: low <= value <= high)


def is_positive(value: object) -> bool:
    """Whether a value is a finite number above 0; booleans are not numbers here."""
    return not isinstance(value, bool) and isinstance(value, Real) and 0 < float(value) < math.inf


def check_least(values: Mapping[str, Any], least: Mapping[str, int]) -> None:
    """Refuse numbers that are too small.

    Args:
        values: Values by name; those without a bound are not read.
        least: The lower bound of each, by name.

    Raises:
        ValueError: If a number is below its bound; the message names the first.
    """
    for name, low in least.items():
        if values[name] < low:
            raise ValueError(f"{name} must be at least {low}, got {values[name]}.")


def check_seed(seed: int) -> None:
    """Refuse a seed that random number generators do not accept.

    Raises:
        ValueError: If the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be from 0 to {2**32 - 1}, got {seed}.")


def check(config: Any, part: str, **bounds: Bound) -> None:
    """Refuse fields that are not numbers or are out of bounds; a default of None is accepted.

    Args:
        config: A dataclass; a field that holds a list has each of its values checked, and at least one.
        part: The dataclass's key in the configuration, for the error; empty at the top level.
        bounds: The bound of each field, by name.

    Raises:
        ValueError: The message names the key and the value.
    """
    known = {field.name: field for field in fields(config)}
    for name, bound in bounds.items():
        value, key = getattr(config, name), f"{part}.{name}" if part else name
        if value is None and known[name].default is None:
            continue
        kind, what = (Integral, "a whole number") if str(known[name].type).startswith("int") else (Real, "a number")
        several = isinstance(value, list | tuple)
        if several and not value:
            raise ValueError(f"{key} must hold at least one number, got {value!r}.")
        for number in value if several else [value]:
            if isinstance(number, bool) or not isinstance(number, kind):
                raise ValueError(f"{key} must be {what}, got {number!r}.")
            if not math.isfinite(float(number)) or not bound.holds(float(number)):
                raise ValueError(f"{key} must be {bound.text}, got {number!r}.")
