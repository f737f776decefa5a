"""Reading torch's files without executing anything in them."""

from __future__ import annotations

import pickle
import struct
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
