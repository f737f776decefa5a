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
    if (folder / marker).is_file() and not folder.is_symlink():
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} holds what no {made_by} has made (there is no {marker} in it), so it is not replaced; choose "
            "another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / marker).touch()
