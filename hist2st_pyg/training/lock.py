"""Lock a run folder against a second training."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)
LOCK = ".lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run folder; the kernel releases the lock when the process ends, even if it is killed.

    On a file system without locks (some network file systems), log a warning instead.

    Args:
        folder: The run folder; it is created.

    Raises:
        BlockingIOError: If another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # some network file systems raise PermissionError
            file.seek(0)
            raise BlockingIOError(
                f"{folder} is in use by {file.read().strip() or 'another process'}; wait until that training has "
                "ended, or choose another output."
            ) from error
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): its file system has no locks; start no other training in it.",
                folder,
                error.strerror,
            )
            yield
            return
        if not _is_at(file, folder / LOCK):  # a failed run removed the file after it was opened
            with run_lock(folder):
                yield
            return
        file.truncate(0)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the file at a path."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
