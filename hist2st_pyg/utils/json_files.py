"""Read untrusted JSON strictly, and check the types of its values."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST_BYTES = 64 * 2**20
"""Largest file that is read, in bytes; the configuration of a model of 20,000 genes has 1 MiB."""

_SPOKEN = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    NoneType: "null",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
}


def read_json(path: str | Path, strict: bool = True) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        strict: Refuse non-finite numbers and duplicate keys, which JSON does not allow; other programs may write them.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is too large, or is not (strict) JSON in UTF-8; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if (size := path.stat().st_size) > LARGEST_BYTES:
        raise ValueError(f"{path} has {size / 2**20:,.0f} MiB; the limit for a JSON file is {LARGEST_BYTES >> 20} MiB.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if not strict:
            return json.loads(text)
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deep to be read as JSON.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error


def read_json_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON object from a file of another program.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or does not hold an object.
    """
    value = read_json(path, strict=False)
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is duplicated")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is not a number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"it holds {text}, which is too large")
    return value


def kinds_of(build: Any) -> dict[str, Any]:
    """The annotations of a callable's arguments, by name."""
    if is_dataclass(build):  # the fields of its bases are annotated in their own modules
        hints = get_type_hints(build)
        return {field.name: hints[field.name] for field in fields(build)}
    return {name: each.annotation for name, each in inspect.signature(build, eval_str=True).parameters.items()}


def check_kinds(values: Any, kinds: Mapping[str, Any], where: str) -> None:
    """Refuse a mapping with unknown keys or with values of other types than annotated.

    Args:
        values: Plain values.
        kinds: The annotation of each known key; a list fits a tuple or a sequence, and no value fits a callable.
        where: The mapping's file and name, for the error.

    Raises:
        ValueError: The message names the key, the value, and what it must be.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, got {values!r:.100}.")
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{where} has the unknown key {name!r:.100}; known keys are {', '.join(sorted(kinds))}.")
        if not _fits(value, kinds[name]):
            raise ValueError(f"{where}: {name} must be {_spoken(kinds[name])}, got {value!r:.100}.")


def _fits(value: Any, kind: Any) -> bool:
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if kind in (Any, inspect.Parameter.empty):
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, parts[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind in _SPOKEN and isinstance(value, kind)


def _spoken(kind: Any) -> str:
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(spoken for part in parts if (spoken := _spoken(part)))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    said = _SPOKEN.get(origin, "")
    if origin in (list, tuple, Sequence):
        return f"{said} of values that are each {_spoken(parts[0])}"
    return said
