"""Create, lock and clean the run folder."""

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
from hist2st_pyg.training.tracking import RUN_FILE
from hist2st_pyg.utils.files import read_yaml

MODEL = "model"
RUNS = Path("runs")
"""Folder of the runs without an ``output``."""
OF_LOGGERS = (METRICS, "wandb", RUN_FILE)
OF_A_RUN = (CONFIG, LAST, BEST, SUMMARY, MODEL, "figures", *OF_LOGGERS)
"""The files that training writes into a run folder."""
FOLDER_VARIABLE = "HIST2ST_RUN_FOLDER"
"""Environment variable that passes the chosen folder to the processes that Lightning starts."""


def new_folder(model: Mapping[str, Any]) -> Path:
    """Create the folder of a run without an ``output``; the other processes of the run use the same one.

    Two runs that start at the same time get two folders, because creating a folder succeeds only once.

    Args:
        model: The model's part of the configuration; its ``name`` names the parent folder.

    Raises:
        ValueError: If this process is not the first and was not started by it, so that the folder is unknown.
    """
    if not is_first():
        if FOLDER_VARIABLE not in os.environ:
            raise ValueError("Training in several processes needs output, the run folder that they share; set it.")
        return Path(os.environ[FOLDER_VARIABLE])
    parent = RUNS / str(model.get("name", "hist2st"))
    while True:
        with suppress(FileExistsError, FileNotFoundError):  # another process created it first, or removed the parent
            parent.mkdir(parents=True, exist_ok=True)
            taken = [re.fullmatch(r"version_(\d+)", path.name) for path in parent.iterdir()]
            folder = parent / f"version_{max((int(found[1]) + 1 for found in taken if found), default=0)}"
            folder.mkdir()
            os.environ[FOLDER_VARIABLE] = str(folder)
            return folder


@contextmanager
def run_folder(folder: Path, new: bool = False) -> Iterator[None]:
    """Lock a run folder; if the block fails before there is a checkpoint to resume from, remove the run's files.

    The whole folder is removed if it was created for this run.

    Args:
        folder: The run folder; it is created.
        new: Whether it was created for this run.

    Raises:
        BlockingIOError: If another process has locked it.
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
                    with suppress(OSError):  # another process wrote a file into it
                        parent.rmdir()
            raise


def _remove(folder: Path, there: bool) -> None:
    if not there:
        shutil.rmtree(folder, ignore_errors=True)  # raise the original error, not one of this cleanup
        return
    for name in (LOCK, CONFIG, METRICS, RUN_FILE):
        (folder / name).unlink(missing_ok=True)


def check_overwritable(folder: Path, kept: Sequence[str] = ()) -> None:
    """Check that a folder is empty or has a run, which may be replaced.

    Args:
        folder: The folder.
        kept: Names of files to ignore.

    Raises:
        FileExistsError: If it has other files.
    """
    if not folder.exists() or (folder.is_dir() and not {path.name for path in folder.iterdir()} - {LOCK, *kept}):
        return
    if (
        not (folder / CONFIG).is_file()
        or not {"data", "model", "training", "preset"} <= read_yaml(folder / CONFIG).keys()
    ):
        raise FileExistsError(
            f"{folder} is not a run folder (it has files, but no {CONFIG} of a run), so it is not replaced; "
            "choose another output."
        )


def clear_run(folder: Path, kept: Sequence[str] = ()) -> None:
    """Remove the files of a run from its folder, except for some names; other files are kept."""
    for name in set(OF_A_RUN) - set(kept):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
