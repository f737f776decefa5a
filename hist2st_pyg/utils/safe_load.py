"""Read torch's files without executing code from them."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_UNREADABLE = (
    pickle.UnpicklingError,
    struct.error,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""The errors that torch raises on damaged or foreign files."""

LIGHTNING = ("lightning.pytorch.", "pytorch_lightning.")
"""The packages of Lightning's own classes."""


def read_tensors(path: str | Path) -> Any:
    """Read a file of ``torch.save`` that holds tensors and plain values, memory-mapped if its format allows.

    Raises:
        ValueError: If the file is damaged or holds other objects.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as first:
        try:  # files of old versions of torch cannot be memory-mapped
            return torch.load(path, map_location="cpu", weights_only=True)
        except _UNREADABLE as error:
            raise ValueError(
                f"{path} cannot be read as a checkpoint without executing code: {_reason(error)}."
            ) from first


def _reason(error: Exception) -> str:
    """Torch's error message in one line, without its advice to execute the file's code."""
    text = " ".join(str(error).split())
    if code := re.search(r"Unsupported global: GLOBAL (\S+)", text):
        return f"it holds {code[1]}, more than tensors and plain values"
    if not isinstance(error, OSError | RuntimeError) or "weights_only" in text:
        return "it is damaged, or holds more than tensors and plain values"
    return text.partition(". ")[0].rstrip(".")


def read_lightning(path: str | Path) -> Any:
    """Read a checkpoint of any version of Lightning, or another file of :func:`read_tensors`.

    Releases before 1.5 saved callbacks by their class and the arguments in a dict class of Lightning's. Callback names
    load as empty classes and that class as a plain dict; Lightning is neither imported nor called.

    Raises:
        ValueError: As :func:`read_tensors`; the message names the classes and functions that the file needs.
    """
    names = code_in(path)
    known: list[Callable[..., Any] | tuple[Callable[..., Any], str]]
    known = [stand_in for name in names if (stand_in := _stand_in(name)) is not None]
    try:
        with torch.serialization.safe_globals(known):
            return read_tensors(path)
    except ValueError as error:
        others = [name for name in names if _stand_in(name) is None]
        if not others:
            raise
        raise ValueError(
            f"{path} holds more than weights and plain values: {', '.join(others)}. Loading it would execute code, so "
            "it was not loaded. If you trust it, save its weights alone with the program that made it: "
            "torch.save(checkpoint['state_dict'], 'weights.pth'); a whole model's weights are model.state_dict()."
        ) from error


def code_in(path: str | Path) -> list[str]:
    """List the classes and functions, other than tensors, that a file of ``torch.save`` needs; empty if unreadable.

    The file is scanned, not unpickled.
    """
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except _UNREADABLE:
        return []


class _Callback:
    """Stands in for the class of a callback that a checkpoint names."""


def _stand_in(name: str) -> tuple[Callable[..., Any], str] | None:
    """Return the substitute for one of Lightning's names; None for other names."""
    if name.startswith(tuple(f"{where}callbacks." for where in LIGHTNING)):
        return _Callback, name
    if name in {f"{where}utilities.parsing.AttributeDict" for where in LIGHTNING}:
        return dict, name
    return None
