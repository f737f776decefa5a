"""Refuse values that make no sense where a configuration is made, whoever makes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, NamedTuple


class Bound(NamedTuple):
    """What a number has to be.

    Args:
        text: In words, after "is": ``"at least 1"``.
        holds: Whether a number is.
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
    """Whether a value is a finite number above 0; true and false are none."""
    return not isinstance(value, bool) and isinstance(value, Real) and 0 < float(value) < math.inf


def check_least(values: Mapping[str, Any], least: Mapping[str, int]) -> None:
    """Refuse numbers that are too small.

    Args:
        values: Numbers by name, among others.
        least: The least of each.

    Raises:
        ValueError: The message names the first that is smaller.
    """
    for name, low in least.items():
        if values[name] < low:
            raise ValueError(f"{name} is at least {low}, got {values[name]}.")


def check_seed(seed: int) -> None:
    """Refuse what no generator of random numbers takes.

    Raises:
        ValueError: The message has the value.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is from 0 to {2**32 - 1}, got {seed}.")


def check(config: Any, part: str, **bounds: Bound) -> None:
    """Refuse what is no number or out of bounds; None is left alone where it is the default.

    Args:
        config: A dataclass; a field that holds a list has each of its values checked, and at least one.
        part: Its key in the configuration, for the error; empty at the top.
        bounds: Of the fields, by name.

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
            raise ValueError(f"{key} holds at least one number, got {value!r}.")
        for number in value if several else [value]:
            if isinstance(number, bool) or not isinstance(number, kind):
                raise ValueError(f"{key} is {what}, got {number!r}.")
            if not math.isfinite(float(number)) or not bound.holds(float(number)):
                raise ValueError(f"{key} is {bound.text}, got {number!r}.")
