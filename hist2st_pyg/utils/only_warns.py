"""Pictures, uploads and checks that follow a result: their errors are warnings, so that the result stays."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_warns(logger: logging.Logger, what: str) -> Iterator[None]:
    """Turn an error of the block into a warning that names what failed and why; the program continues.

    Args:
        logger: Where the warning goes.
        what: What failed, as the beginning of a sentence: ``"The curves could not be drawn"``.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the result before it stays
        reason = [type(error).__name__, " ".join(str(error).split())]
        logger.warning("%s: %s", what, ": ".join(filter(None, reason)))
