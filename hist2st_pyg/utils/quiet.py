"""Hide other libraries' messages about themselves where this package calls them; their other warnings stay.

Nothing is hidden if :func:`~hist2st_pyg.utils.progress.verbose`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hist2st_pyg.utils.progress import verbose


@contextmanager
def without_lines(*loggers: str, below: int = logging.WARNING) -> Iterator[None]:
    """Hide the messages of some loggers below a level.

    Args:
        loggers: Their names.
        below: The level.
    """
    found = [] if verbose() else [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(max(logger.level, below))
    try:
        yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def without_warnings(*messages: str) -> Iterator[None]:
    """Hide the warnings whose message starts with one of these regular expressions."""
    if verbose():
        yield
        return
    with warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message=message)
        yield


with without_warnings(r"`torch\.jit\.\w+` is deprecated"):  # PyTorch Geometric raises it on import
    import torch_geometric.nn  # noqa: F401
