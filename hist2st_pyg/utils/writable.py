"""Check, before a computation, that its outputs can be written."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from hist2st_pyg.utils.staging import cannot_write


def check_file(path: str | Path | None, option: str = "--output") -> None:
    """Check that a file can be written; nothing is left behind.

    Args:
        path: The file; None is not checked.
        option: The option that names it, for the error.

    Raises:
        OSError: If it cannot be written, with the reason.
        ValueError: If the path is empty.
    """
    if path is not None:
        _check(path, Path(path).parent, option, "file")


def check_folder(path: str | Path | None, option: str = "--figures") -> None:
    """Check that files can be written to a folder, which need not exist; nothing is left behind.

    Args:
        path: The folder; None is not checked.
        option: The option that names it, for the error.

    Raises:
        OSError: If they cannot be written, with the reason.
        ValueError: If the path is empty.
    """
    if path is not None:
        _check(path, Path(path), option, "folder")


def _check(path: str | Path, folder: Path, option: str, kind: str) -> None:
    text = os.fspath(path)
    if not text:
        raise ValueError(f"{option} is empty; it must be a {kind}.")
    try:
        with suppress(FileNotFoundError, NotADirectoryError):  # a name that is too long still raises
            os.stat(text)
        if kind == "file" and (os.path.isdir(text) or text.endswith(os.sep)):
            raise IsADirectoryError(f"{option} is a folder, {text}; it must be a file.")
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        # Make a folder to try: permissions are not sufficient (root cannot write to /proc).
        os.rmdir(tempfile.mkdtemp(dir=existing, prefix=".check-"))
    except OSError as error:
        if error.errno is None:
            raise
        raise cannot_write(Path(path), error) from error
