"""Progress bars, which ``hist2st --quiet`` leaves out."""

from __future__ import annotations

import logging
from typing import Any

from tqdm.auto import tqdm as _tqdm

PACKAGE = logging.getLogger(__name__.partition(".")[0])


def quiet() -> bool:
    """Whether nothing is to be told but results, warnings and errors: the package's logger is set to warnings."""
    return PACKAGE.level >= logging.WARNING


def verbose() -> bool:
    """Whether everything is to be told, other libraries' lines too: the package's logger is set to debug."""
    return PACKAGE.level == logging.DEBUG


def tqdm(*args: Any, disable: bool | None = None, **kwargs: Any) -> Any:
    """tqdm's bar in a terminal or a notebook; none where :func:`quiet`."""
    return _tqdm(*args, disable=True if quiet() else disable, **kwargs)
