"""Replace output folders, but only those that an earlier call made."""

from __future__ import annotations

import shutil
from pathlib import Path


def replace_earlier(folder: Path, marker: str, made_by: str) -> None:
    """Make an empty folder, in place of the one that an earlier call made.

    Args:
        folder: The folder.
        marker: Name of the file that marks the folder for later calls.
        made_by: What makes such folders, for the error.

    Raises:
        FileExistsError: If the path is a file, or a folder that is not empty and has no marker.
    """
    check_replaceable(folder, marker, made_by)
    if (folder / marker).is_file():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / marker).touch()


def check_replaceable(folder: Path, marker: str, made_by: str) -> None:
    """Check, as :func:`replace_earlier` does, that a folder does not exist, is empty, or has the marker."""
    made = (folder / marker).is_file() and not folder.is_symlink()
    if not made and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"{folder} was not made by an earlier {made_by} (it has no {marker}) and is not replaced; choose another "
            "folder."
        )
