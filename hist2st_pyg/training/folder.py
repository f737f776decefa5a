"""The run folder: one training at a time, and nothing left of a start that failed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hist2st_pyg.training.checkpoints import LAST
from hist2st_pyg.training.lock import LOCK, run_lock
from hist2st_pyg.training.loggers import METRICS
from hist2st_pyg.training.resume import CONFIG, SUMMARY

MODEL = "model"


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Hold a run folder; if the block fails before the run has anything to go on from, remove what it left.

    That is the whole folder where the block made it, else the files of a run that is about to start.

    Args:
        folder: The run folder; it is created.

    Raises:
        BlockingIOError: If another process holds it.
    """
    there = folder.exists()
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    with run_lock(folder):
        try:
            yield
        except BaseException:
            if not any((folder / name).exists() for name in (LAST, SUMMARY, MODEL)):
                _remove(folder, there)
                for parent in made[1:]:
                    with suppress(OSError):  # somebody else's file is in it by now
                        parent.rmdir()
            raise


def _remove(folder: Path, there: bool) -> None:
    if not there:
        shutil.rmtree(folder, ignore_errors=True)  # the error that led here is the one to tell
        return
    for name in (LOCK, CONFIG, METRICS):
        (folder / name).unlink(missing_ok=True)
