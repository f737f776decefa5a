"""Reading torch's files without executing anything in them."""

from __future__ import annotations

import pickle
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
"""What torch raises on files that it did not write."""

LIGHTNING = ("lightning.pytorch.", "pytorch_lightning.")
"""Where Lightning's own classes are."""


def read_tensors(path: str | Path) -> Any:
    """Read a file of ``torch.save`` that holds tensors and plain values, mapped to memory where it can be.

    Raises:
        ValueError: If the file is damaged, or holds more than that.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE as first:
        try:  # files of old versions of torch cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True)
        except _UNREADABLE as error:
            raise ValueError(f"{path} cannot be read as a checkpoint without executing code: {error}") from first


def read_lightning(path: str | Path) -> Any:
    """Read any version's checkpoint of Lightning, or another file of :func:`read_tensors`.

    Releases before 1.5 noted callbacks by their class and held the arguments as a dict of their own. The names of
    Lightning's callbacks are read as empty classes, that dict as a dict; nothing of Lightning is imported or called.

    Raises:
        ValueError: As :func:`read_tensors`; the message names the classes and functions that the file asks for.
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
            f"{path} holds more than weights and plain values: {', '.join(others)}. Reading it would execute code, so "
            "it is not read. If you trust it, write its weights alone where the program that made it is installed: "
            f"checkpoint = torch.load({Path(path).name!r}, map_location='cpu', weights_only=False), then "
            "torch.save(checkpoint['state_dict'], 'weights.pth'); a whole model's weights are model.state_dict()."
        ) from error


def code_in(path: str | Path) -> list[str]:
    """The classes and functions that a file of ``torch.save`` asks for beyond tensors; empty where it cannot be told.

    The file is searched, not unpickled.
    """
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except _UNREADABLE:
        return []


class _Callback:
    """Stands for a callback's class, of which a checkpoint holds the name."""


def _stand_in(name: str) -> tuple[Callable[..., Any], str] | None:
    """What a name of Lightning is read as; None for names of others."""
    if name.startswith(tuple(f"{where}callbacks." for where in LIGHTNING)):
        return _Callback, name
    if name in {f"{where}utilities.parsing.AttributeDict" for where in LIGHTNING}:
        return dict, name
    return None
