"""Bad inputs as rows: what is made wrong, the command, and what its one line of error has to say."""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hist2st_pyg.cli import main

Change = Callable[[], object]
HANGS = 60
"""Seconds after which a command is thought to hang; those here take less than one."""


@dataclass(frozen=True)
class Case:
    """A bad input.

    Args:
        id: What is wrong, in few words.
        command: The arguments; words that begin with the name of a file of the made world get a copy of it.
        message: What the last line of stderr has to say, a regular expression.
        changes: What makes the copies wrong, run in the working folder.
        needs: Further files of the world.
    """

    id: str
    command: str
    message: str
    changes: Sequence[Change] = ()
    needs: str = ""


def case(id: str, command: str, message: str, *changes: Change, needs: str = "") -> Case:
    return Case(id, command, message, changes, needs)


def rows(cases: Sequence[Case], every: int = 9) -> list[Any]:
    """The cases for ``parametrize``: all in the slow suite, each ``every``-th in the quick one too."""
    ids = [case.id for case in cases]
    assert len(set(ids)) == len(ids), sorted(id for id in ids if ids.count(id) > 1)
    slow = [pytest.mark.slow]
    return [pytest.param(c, id=c.id, marks=[] if i % every == 0 else slow) for i, c in enumerate(cases)]


def check(case: Case, world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Run a case in the empty working folder: status 2, one line that says it, and no file that was not there."""
    take(world, [*shlex.split(case.command), *case.needs.split()])
    for change in case.changes:
        change()
    before = content(Path())
    capfd.readouterr()
    status = run(case.command)
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert status == 2, error
    last = error.rstrip().splitlines()[-1]
    assert last.startswith(f"hist2st {case.command.split()[0]}: "), error
    assert len(re.findall(r"^hist2st \w+: ", error, re.MULTILINE)) == 1, error
    assert re.search(case.message, last), last
    assert content(Path()) == before


def take(world: Path, words: Sequence[str]) -> None:
    """Copy the files of the made world that are named into the working folder."""
    for part in {word.split("/")[0] for word in words}:
        if part and (world / part).is_dir():
            shutil.copytree(world / part, part)
        elif part and (world / part).is_file():
            shutil.copy(world / part, part)


def run(command: str) -> int:
    """A command's exit status; exceptions that it lets through are the test's."""
    with limited():
        try:
            return main(shlex.split(command))
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)


class Hangs(BaseException):
    """A command did not end; nothing that catches errors catches it."""


@contextmanager
def limited(seconds: int = HANGS) -> Iterator[None]:
    """Raise :class:`Hangs` in code that takes too long."""

    def stop(*_: object) -> None:
        raise Hangs(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def content(folder: Path) -> dict[str, str]:
    """Every path below a folder and what it holds."""
    return {
        str(path): sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def put(path: str, value: str | bytes = "") -> Change:
    """A file with this content."""

    def change() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(value.encode() if isinstance(value, str) else value)

    return change


def edit(path: str, old: str, new: str) -> Change:
    """Text in a file, packed or not, replaced once; every one of ``old`` where it is a single character."""

    def change() -> None:
        packed = path.endswith(".gz")
        raw = Path(path).read_bytes()
        text = (gzip.decompress(raw) if packed else raw).decode()
        assert old in text, (path, text[:300])
        raw = text.replace(old, new, -1 if len(old) == 1 else 1).encode()
        Path(path).write_bytes(gzip.compress(raw) if packed else raw)

    return change


def cut(path: str, share: float = 0.6) -> Change:
    """A file that ends early."""

    def change() -> None:
        raw = Path(path).read_bytes()
        Path(path).write_bytes(raw[: int(share * len(raw))])

    return change


def drop(path: str) -> Change:
    """A file or folder that is not there."""
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def folder(path: str) -> Change:
    """A folder where a file should be."""

    def change() -> None:
        if Path(path).is_file():
            Path(path).unlink()
        Path(path).mkdir(parents=True)

    return change


def adata(path: str, edit: Callable[[Any], object]) -> Change:
    """An AnnData file, changed."""

    def change() -> None:
        import anndata

        read = anndata.read_h5ad(path)
        edit(read)
        read.write_h5ad(path)

    return change


def hdf5(path: str, edit: Callable[[Any], object]) -> Change:
    """An HDF5 file, changed."""

    def change() -> None:
        import h5py

        with h5py.File(path, "r+") as file:
            edit(file)

    return change


def json_file(path: str, edit: Callable[[Any], object]) -> Change:
    """A JSON file, changed in place."""

    def change() -> None:
        import json

        value = json.loads(Path(path).read_text())
        edit(value)
        Path(path).write_text(json.dumps(value))

    return change
