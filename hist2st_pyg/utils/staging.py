"""Write to a temporary folder beside a target and move the complete output; remove folders of killed processes."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

_UNFINISHED = ".unfinished-"
"""Part of the name of each temporary folder, by which :func:`remove_unfinished` finds them."""
_LONGEST = 100
"""Longest part of a target's name, in characters, in the name of its temporary folder."""


@contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, from which the caller moves the complete output; then remove the folder.

    The folder is locked while it is in use. The kernel unlocks it when the process ends, also when it is killed, so
    that the next writer of ``path`` can recognize and remove it.

    Args:
        path: The file or folder to write; its parent is created.

    Raises:
        OSError: If something cannot be written; the message names ``path`` and the reason.
    """
    path = Path(path)
    name = path.name[:_LONGEST]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent, name)
        folder, descriptor = _locked_folder(path.parent, f".{name}{_UNFINISHED}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
    except OSError as error:
        if not _is_about(path, error):
            raise
        raise cannot_write(path, error) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait for the lock of a folder and hold it; without effect on a file system without locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def move_in(source: Path, path: Path, *, replace: bool) -> None:
    """Move a complete folder to its place.

    Args:
        source: The folder, in the folder of :func:`staged`, into which a replaced output moves.
        path: Its place.
        replace: Replace an existing output, also one that another process wrote meanwhile.

    Raises:
        FileExistsError: If ``path`` exists and ``replace`` is not set.
    """
    for number in count():
        try:
            source.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or not os.path.lexists(path):
                raise
            if not replace:
                raise FileExistsError(f"Another process wrote {path} meanwhile; that output is kept.") from error
            with suppress(FileNotFoundError):
                path.rename(source.with_name(f"replaced-{number}"))
        else:
            return


def cannot_write(path: Path, error: OSError) -> OSError:
    """Convert an error of the operating system to one that names the output ``path`` and the reason."""
    reason = os.strerror(error.errno) if error.errno is not None else str(error)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason = "there is a file where its folder has to be"
    kind = type(error) if type(error).__module__ == "builtins" else OSError
    named = kind(f"{path} cannot be written: {reason}.")
    named.errno = error.errno  # an enclosing :func:`staged` then names its own target
    return named


def _is_about(path: Path, error: OSError) -> bool:
    """Whether the operating system raised an error for ``path``, its folder or its temporary files."""
    names = [Path(os.fsdecode(n)) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)]
    return error.errno is not None and all(n in path.parents or path.parent in n.parents for n in names)


def remove_unfinished(folder: str | Path, name: str | None = None) -> None:
    """Remove the temporary folders that killed processes left; those in use stay.

    Args:
        folder: The folder of the outputs.
        name: The output; None removes the folders of all outputs.
    """
    pattern = "*" if name is None else glob.escape(name)
    for path in Path(folder).glob(f".{pattern}{_UNFINISHED}*"):
        # It may be in use, removed meanwhile, another user's, or on a file system without locks.
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(descriptor)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        descriptor = -1
        try:
            descriptor = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks, where nothing is removed either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.is_dir():  # else another process removed it before it was locked
                return folder, descriptor
        except FileNotFoundError:
            pass
        if descriptor >= 0:
            os.close(descriptor)
