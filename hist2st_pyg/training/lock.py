"""One training at a time in a run folder."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

logger = logging.getLogger(__name__)
LOCK = ".lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder; the kernel gives it free when the process ends, however it ends.

    The file stays: removing it would let a process that has it open hold a lock which nobody else sees. Where the file
    system knows no locks (some network file systems), a warning says that the folder is not held.

    Args:
        folder: The run folder; it is created.

    Raises:
        BlockingIOError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # some network file systems say that it is not permitted
            file.seek(0)
            raise BlockingIOError(
                f"{folder} is being trained into by {file.read().strip() or 'another process'}. Wait until that has "
                "ended, or choose another output."
            ) from error
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): its file system has no locks. See that no other training writes to it.",
                folder,
                error.strerror,
            )
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
