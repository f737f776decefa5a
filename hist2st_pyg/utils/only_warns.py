"""What comes after a result and must not cost it: pictures, uploads, checks for the model card."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_warns(logger: logging.Logger, what: str) -> Iterator[None]:
    """Turn an error of the block into a warning that names what failed and why; what follows goes on.

    Args:
        logger: Where the warning goes.
        what: What failed, as the beginning of a sentence: ``"The curves could not be drawn"``.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the result before it stays
        reason = [type(error).__name__, " ".join(str(error).split())]
        logger.warning("%s: %s", what, ": ".join(filter(None, reason)))
