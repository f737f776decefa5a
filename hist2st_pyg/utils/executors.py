"""Where a function is called for many items: each call in a process, on this machine or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """What there is in place of a result.

    Args:
        reason: The error, or how the process ended.
        traceback: The traceback, where there is one.
    """

    reason: str
    traceback: str = ""

    @property
    def text(self) -> str:
        """What is to be kept of it in a file."""
        return self.traceback or f"{self.reason}\n"


class Executor(Protocol):
    """Calls a function for each item, some at a time, and yields items with results as they come."""

    def __call__(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        jobs: int = 1,
        cpus: int = 1,
        gpus: float = 0,
        fresh: bool = False,
    ) -> Generator[tuple[Item, Result | Failed], None, None]:
        """Call the function for every item.

        Args:
            function: A function of a module; it, the items and the results are pickled.
            items: The items.
            jobs: Calls at a time; on a cluster its resources decide.
            cpus: Cores of a call, by which Ray shares them out.
            gpus: GPUs of a call, with Ray; it sees no other.
            fresh: A process for each call, so that its memory and state are its own; else processes are used again.

        Yields:
            Each item with the result, or :class:`Failed` where the function raised or its process ended.

        Raises:
            ImportError: If Ray is asked for and not installed.
            ValueError: If there is not at least one job, or GPUs are to be shared out without Ray.
        """


def local(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 1,
    cpus: int = 1,
    gpus: float = 0,
    fresh: bool = False,
) -> Generator[tuple[Item, Result | Failed], None, None]:
    """Processes of this machine; see :class:`Executor`.

    They are forked from one that has imported the function's module, so that a call starts at once. Where there is a
    GPU each imports for itself: imports may open CUDA's driver, and no process can use it that was forked afterwards.
    """
    if jobs < 1:
        raise ValueError(f"jobs is how many calls run at a time, at least 1, got {jobs}.")
    if gpus:
        raise ValueError(f"GPUs are shared out by Ray, got gpus={gpus:g}; local processes see all of the machine's.")
    context = multiprocessing.get_context("forkserver")
    called = function.func if isinstance(function, partial) else function
    # This package is found in any folder, the function's module perhaps not.
    context.set_forkserver_preload([] if torch.cuda.is_available() else [__name__, called.__module__])
    waiting, idle, busy = deque(items), list[_Worker](), dict[Connection, tuple[_Worker, Item]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else _Worker(context, function)
                item = waiting.popleft()
                with suppress(OSError):  # a process that is no more is told from what it answers
                    worker.connection.send(item)
                busy[worker.connection] = worker, item
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, item = busy[connection]
                try:
                    outcome: Result | Failed = connection.recv()
                except (EOFError, OSError):
                    outcome = Failed(f"The process ended with status {worker.stop()}.")
                else:
                    if fresh:
                        worker.stop()
                    else:
                        idle.append(worker)
                del busy[connection]
                yield item, outcome
    finally:
        for worker, _ in busy.values():
            worker.process.terminate()
        for worker in [*idle, *(worker for worker, _ in busy.values())]:
            worker.stop()


def ray(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 1,
    cpus: int = 1,
    gpus: float = 0,
    fresh: bool = False,
) -> Generator[tuple[Item, Result | Failed], None, None]:
    """A Ray cluster: that of ``RAY_ADDRESS``, else one started on this machine with room for ``jobs``.

    Every machine of a cluster sees the Python environment and all files at the same path; see :class:`Executor`.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("The executor 'ray' needs Ray: pip install 'hist2st_pyg[ray]'.") from error
    mine = not ray.is_initialized()
    if mine:
        size = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": jobs * cpus}
        # What is imported here from a checkout, not installed, is found by the workers too.
        path = os.pathsep.join(filter(None, sys.path))
        ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}}, **size)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=int(fresh), max_retries=0)(_call)
    try:
        waiting = {task.remote(function, item): item for item in items}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            item = waiting.pop(done)
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as error:
                outcome = Failed(f"The worker ended: {error}")
            yield item, outcome
    finally:
        if mine:
            ray.shutdown()


EXECUTORS: dict[str, Executor] = {"local": local, "ray": ray}
"""Where calls can be made."""


def log_to(path: Path) -> None:
    """Send the output of this process to a file from now on, that of libraries in C included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("w", encoding="utf-8") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


class _Worker:
    """A process that calls a function for what it is sent."""

    def __init__(self, context: ForkServerContext, function: Callable[[Any], object]) -> None:
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, other))
        self.process.start()
        other.close()  # so that the end of the process ends the connection

    def stop(self) -> int | None:
        """Wait for the end of the process, which comes with that of the connection; returns its exit status."""
        self.connection.close()
        self.process.join()
        return self.process.exitcode


def _serve(function: Callable[[Any], object], connection: Connection) -> None:
    _end_with_parent()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(_call(function, item))


def _call(function: Callable[[Any], object], item: object) -> object:
    try:
        return function(item)
    except Exception as error:  # noqa: BLE001 - what one item raises must not stop the others; it is kept and reported
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


def _end_with_parent() -> None:
    """What was killed must not leave processes running beside those of its next start."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
