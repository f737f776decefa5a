"""Limit the memory that decoding one image may take."""

from __future__ import annotations

import os
from pathlib import Path

MEMORY_SHARE = 0.25
"""The share of the machine's memory that decoding one image, or one tile of it, may take."""


def check_memory(path: Path, needed: int, what: str) -> None:
    """Refuse an image whose decoding would take more than the share of the machine's memory.

    Args:
        path: The image file, for the error.
        needed: Bytes at the peak of decoding.
        what: What is decoded at once, for the error.

    Raises:
        ValueError: If ``needed`` is more than :data:`MEMORY_SHARE` of the memory.
    """
    allowed = int(MEMORY_SHARE * memory_bytes())
    if needed > allowed:
        raise ValueError(
            f"{path} is {what} and would take {needed / 2**30:.1f} GiB decoded; the limit on this machine is "
            f"{allowed / 2**30:.1f} GiB. Convert it to a tiled TIFF, which is read by regions."
        )


def memory_bytes() -> int:
    """The machine's physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
