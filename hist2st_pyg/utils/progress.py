"""Progress bars, which ``hist2st --quiet`` turns off."""

from __future__ import annotations

import logging
from typing import Any

from tqdm.auto import tqdm as _tqdm

PACKAGE = logging.getLogger(__name__.partition(".")[0])


def quiet() -> bool:
    """Whether the package's logger shows warnings and errors only."""
    return PACKAGE.level >= logging.WARNING


def verbose() -> bool:
    """Whether the package's logger shows debug messages; other libraries' messages are then shown too."""
    return PACKAGE.level == logging.DEBUG


def tqdm(*args: Any, disable: bool | None = None, **kwargs: Any) -> Any:
    """tqdm's bar in a terminal or a notebook; none if :func:`quiet`."""
    return _tqdm(*args, disable=True if quiet() else disable, **kwargs)
