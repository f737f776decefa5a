"""The run folder: a new one where none is named, one training at a time, and nothing left of a start that failed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hist2st_pyg.training.checkpoints import BEST, LAST
from hist2st_pyg.training.lock import LOCK, run_lock
from hist2st_pyg.training.loggers import METRICS
from hist2st_pyg.training.processes import is_first
from hist2st_pyg.training.resume import CONFIG, SUMMARY
from hist2st_pyg.training.tracking import RUN
from hist2st_pyg.utils.files import read_yaml

MODEL = "model"
RUNS = Path("runs")
"""Where the runs are whose output is not named."""
OF_LOGGERS = (METRICS, "wandb", RUN)
OF_A_RUN = (CONFIG, LAST, BEST, SUMMARY, MODEL, "figures", *OF_LOGGERS)
"""The files that training writes into a run folder."""
CHOSEN = "HIST2ST_RUN_FOLDER"
"""The variable by which the first process tells the others, which Lightning starts, what folder it has chosen."""


def new_folder(model: Mapping[str, Any]) -> Path:
    """The folder of a run whose output is not named: made by the first process, known to the others.

    Two processes that start together get two folders, for making a folder succeeds once.

    Args:
        model: The model's part of the configuration; its ``name`` is that of the folder's parent.

    Raises:
        ValueError: If this process was not started by the first, so that it cannot know the folder.
    """
    if not is_first():
        if CHOSEN not in os.environ:
            raise ValueError("Processes that are started together need output, the run folder that they share.")
        return Path(os.environ[CHOSEN])
    parent = RUNS / str(model.get("name", "hist2st"))
    while True:
        with suppress(FileExistsError, FileNotFoundError):  # another process was faster, or has removed the parent
            parent.mkdir(parents=True, exist_ok=True)
            taken = [re.fullmatch(r"version_(\d+)", path.name) for path in parent.iterdir()]
            folder = parent / f"version_{max((int(found[1]) + 1 for found in taken if found), default=0)}"
            folder.mkdir()
            os.environ[CHOSEN] = str(folder)
            return folder


@contextmanager
def run_folder(folder: Path, new: bool = False) -> Iterator[None]:
    """Hold a run folder; if the block fails before the run has anything to resume from, remove its files.

    That is the whole folder where it was made for this run, else the files of a run that is about to start.

    Args:
        folder: The run folder; it is created.
        new: It was made for this run.

    Raises:
        BlockingIOError: If another process holds it.
    """
    there = folder.exists() and not new
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    with run_lock(folder):
        try:
            yield
        except BaseException:
            if not any((folder / name).exists() for name in (LAST, SUMMARY, MODEL)):
                _remove(folder, there)
                for parent in folder.parents[:2] if new else made[1:]:
                    with suppress(OSError):  # another process has put a file into it
                        parent.rmdir()
            raise


def _remove(folder: Path, there: bool) -> None:
    if not there:
        shutil.rmtree(folder, ignore_errors=True)  # the error that led here is the one to tell
        return
    for name in (LOCK, CONFIG, METRICS, RUN):
        (folder / name).unlink(missing_ok=True)


def check_overwritable(folder: Path, kept: Sequence[str] = ()) -> None:
    """Check that a folder holds a run, or nothing.

    Args:
        folder: The folder, whose run is to be replaced.
        kept: Names that may be there in any case.

    Raises:
        FileExistsError: If it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not {path.name for path in folder.iterdir()} - {LOCK, *kept}):
        return
    if (
        not (folder / CONFIG).is_file()
        or not {"data", "model", "training", "preset"} <= read_yaml(folder / CONFIG).keys()
    ):
        raise FileExistsError(
            f"{folder} holds files that are not of a training run (it has no {CONFIG} of one), so it is not replaced; "
            "choose another output."
        )


def clear_run(folder: Path, kept: Sequence[str] = ()) -> None:
    """Remove a run from its folder, except for some names; what else is in it stays."""
    for name in set(OF_A_RUN) - set(kept):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
