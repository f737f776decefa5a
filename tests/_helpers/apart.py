"""Work done in a process of its own, which a signal or a limit ends at a chosen moment of its writing.

A moment is what Python reports before a file or folder below the working folder is made, renamed or removed, so that a
process can be killed at each of them, whatever the clock says.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import numpy as np

from _helpers.image_files import tissue
from hist2st_pyg import load_model
from hist2st_pyg.cli import main
from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.image import ArrayImage

LONG = 600
"""Seconds after which a process is thought to hang."""
EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.link", "tempfile.mkstemp", "tempfile.mkdtemp")


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Args:
        status: Its exit status; below 0 the signal that killed it.
        error: What it wrote to stderr.
        moments: How many moments it came by.
    """

    status: int
    error: str
    moments: int


def save() -> None:
    """Save the model of ``model`` to ``out``."""
    load_model("model").save_pretrained("out")


def cache() -> None:
    """Cut patches into the cache ``out``."""
    pos = np.stack([np.linspace(30, 60, 40), np.full(40, 40.0)], axis=1)
    cut_patches(ArrayImage(tissue(100, 90)), pos, 32, cache="out", name="A")


WORK: dict[str, Callable[[], None]] = {"save": save, "cache": cache}


def apart(work: str, stop: int | None = None, largest: int | None = None) -> Outcome:
    """Run a command, or a key of :data:`WORK`, in the working folder.

    Args:
        work: The command's arguments.
        stop: Kill the process at this moment; None lets it end.
        largest: No file may become larger than this many bytes, as on a full disk.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that torch is imported once
    (error, error_end), (moments, moments_end) = context.Pipe(False), context.Pipe(False)
    ends = (error_end, moments_end)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = context.Process(target=_run, args=(work, os.getcwd(), environment, *ends, stop, largest))
    server = environment | {"PYTHONPATH": os.pathsep.join(sys.path)}  # by which the server finds this module
    # Coverage would write its own files, under the limit and among those that are compared.
    with patch.dict(os.environ, server, clear=True):
        process.start()
    for end in ends:
        end.close()
    said, passed = (_read(connection) for connection in (error, moments))
    process.join(LONG)
    assert process.exitcode is not None, "no end"
    return Outcome(process.exitcode, said.decode(errors="replace"), len(passed))


def _read(connection: Connection) -> bytes:
    with connection, os.fdopen(os.dup(connection.fileno()), "rb") as file:
        return file.read()


def _run(
    work: str,
    folder: str,
    environment: dict[str, str],
    error: Connection,
    moments: Connection,
    stop: int | None,
    largest: int | None,
) -> None:
    os.chdir(folder)
    os.environ.clear()  # the server may have been started with more
    os.environ.update(environment)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # pytest's is a file, which the limit would hold for
    os.dup2(error.fileno(), 2)
    error.close()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    passed = 0
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal passed
        if event in EVENTS and _below(arguments[0], folder):
            passed += 1
            os.write(moments.fileno(), b".")
            if stop is not None and passed > stop:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    if work in WORK:
        WORK[work]()
        status = 0
    else:
        status = main(shlex.split(work))
    sys.stderr.flush()
    os._exit(status)


def _below(path: Any, folder: str) -> bool:
    return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(folder + os.sep)
