"""Giving memory back to the system."""

from __future__ import annotations

import ctypes


def release() -> None:
    """Give back what has been freed; glibc else keeps it for later, and pieces of different sizes add up.

    Other C libraries do so by themselves.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
