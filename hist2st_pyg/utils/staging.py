"""Write beside a target and move it in when it is complete; the next writer removes what killed ones left."""

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
"""Characters of a target's name in that of its temporary folder, so that the latter is not too long."""


@contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, from which to move the complete output in; the folder is removed.

    The folder is locked while it is in use. The kernel unlocks it when the process ends, however it ends, so that the
    next writer of ``path`` knows and removes what a killed one left.

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
    """Wait until no other process holds a folder, and hold it; without effect on a file system without locks."""
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
        source: The folder, in the folder of :func:`staged`, which takes what is replaced.
        path: Its place.
        replace: Replace what is there, also when another process wrote it meanwhile.

    Raises:
        FileExistsError: If there is something, and ``replace`` is not set.
    """
    for number in count():
        try:
            source.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or not os.path.lexists(path):
                raise
            if not replace:
                raise FileExistsError(f"{path} was written by another process meanwhile, and stays.") from error
            with suppress(FileNotFoundError):
                path.rename(source.with_name(f"replaced-{number}"))
        else:
            return


def cannot_write(path: Path, error: OSError) -> OSError:
    """An error of the operating system in writing ``path`` as one that names it and the reason."""
    reason = os.strerror(error.errno) if error.errno is not None else str(error)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason = "there is a file where its folder has to be"
    kind = type(error) if type(error).__module__ == "builtins" else OSError
    named = kind(f"{path} cannot be written: {reason}.")
    named.errno = error.errno  # so that what is staged around it names its own target
    return named


def _is_about(path: Path, error: OSError) -> bool:
    """Whether an error is of the operating system, and about ``path``, its folder or its temporary files."""
    names = [Path(os.fsdecode(n)) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)]
    return error.errno is not None and all(n in path.parents or path.parent in n.parents for n in names)


def remove_unfinished(folder: str | Path, name: str | None = None) -> None:
    """Remove the temporary folders that killed processes left; those in use stay.

    Args:
        folder: The folder of the outputs.
        name: The output; None removes what was left of all.
    """
    pattern = "*" if name is None else glob.escape(name)
    for path in Path(folder).glob(f".{pattern}{_UNFINISHED}*"):
        # In use, gone meanwhile, of another user, or on a file system without locks.
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
            if folder.is_dir():  # else another process took it for a left one before it was locked
                return folder, descriptor
        except FileNotFoundError:
            pass
        if descriptor >= 0:
            os.close(descriptor)
