"""Turn errors of optional steps after a result (figures, uploads, checks) into warnings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warn_on_error(logger: logging.Logger, what: str) -> Iterator[None]:
    """Log an error of the block as a warning that names what failed and why, and continue.

    Args:
        logger: Where the warning goes.
        what: What failed, as the beginning of a sentence: ``"The curves could not be drawn"``.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - no error of an optional step may discard the result
        reason = [type(error).__name__, " ".join(str(error).split())]
        logger.warning("%s: %s", what, ": ".join(filter(None, reason)))
