"""Resume a job from the record beside its output, refuse another configuration, and keep the traceback of a failure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from hist2st_pyg.utils.executors import Failed
from hist2st_pyg.utils.files import write_text

logger = logging.getLogger(__name__)

FAILED = ".failed.txt"


def same_configuration(output: Path, before: Mapping[str, Any], now: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether an output was made with the current configuration.

    Args:
        output: The output, for the error.
        before: Its configuration.
        now: The current one.
        overwrite: Whether the output may be replaced.

    Raises:
        ValueError: If the configurations differ and ``overwrite`` is not set.
    """
    different = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if different and not overwrite:
        key = different[0]
        old, new = (shorten(str(values.get(key)), 60, placeholder=" ...") for values in (before, now))
        raise ValueError(
            f"{output} was made with another configuration ({key} was {old}, is {new}); remove it, choose another "
            "folder, or replace it with --overwrite (overwrite=True)."
        )
    return not different


def failure(record: Path) -> Path:
    """The file of the traceback of a failed job, beside its record."""
    return record.with_suffix(FAILED)


def keep_failure(record: Path, outcome: object) -> bool:
    """Write the traceback of a failed job, or remove that of an earlier try; return whether the job succeeded.

    If the traceback cannot be written, this logs a warning, so that the other jobs continue.

    Args:
        record: The job's JSON file.
        outcome: The job's result, or :class:`Failed`.
    """
    if isinstance(outcome, Failed):
        try:
            write_text(failure(record), outcome.text)
        except OSError as error:
            logger.warning("Cannot write the traceback of a failed job: %s", error)
        return False
    failure(record).unlink(missing_ok=True)
    return True
