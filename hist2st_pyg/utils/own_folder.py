"""Folders that a program replaces: those that it made itself, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path


def replace_earlier(folder: Path, marker: str, made_by: str) -> None:
    """Make an empty folder; what an earlier call made there is removed.

    Args:
        folder: The folder.
        marker: Name of the file by which a later call knows the folder.
        made_by: What makes such folders, for the error.

    Raises:
        FileExistsError: If there is a file, or a folder that holds something and was not made here.
    """
    check_replaceable(folder, marker, made_by)
    if (folder / marker).is_file():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / marker).touch()


def check_replaceable(folder: Path, marker: str, made_by: str) -> None:
    """Check, as :func:`replace_earlier` does, that a folder is not there, is empty, or was made by an earlier call."""
    made = (folder / marker).is_file() and not folder.is_symlink()
    if not made and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} holds files that are not of a {made_by} (it has no {marker}), so it is not replaced; choose "
            "another folder."
        )
