"""Call a function for many items, each call in a process of this machine or of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
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

from hist2st_pyg.utils.optional import require_extra

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """Stands in for a result that could not be computed.

    Args:
        reason: The error, or how the process ended.
        traceback: The traceback; empty if the function did not raise.
    """

    reason: str
    traceback: str = ""

    @property
    def text(self) -> str:
        """The text for a log file: the traceback, else the reason."""
        return self.traceback or f"{self.reason}\n"


class Executor(Protocol):
    """Calls a function for each item, ``jobs`` at a time, and yields each item with its result when it is ready."""

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
            jobs: Calls at a time; a Ray cluster runs as many as its resources allow.
            cpus: Cores that Ray reserves for a call.
            gpus: GPUs that Ray reserves for a call; the call sees no other.
            fresh: Start a new process for each call, which frees its memory and state; else processes are reused.

        Yields:
            Each item with the result, or :class:`Failed` where the function raised or its process ended.

        Raises:
            ImportError: If Ray is chosen and not installed.
            ValueError: If ``jobs`` is below 1, or ``gpus`` is set without Ray.
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
    """Run the calls in processes of this machine; see :class:`Executor`.

    A server process imports the function's module once and forks the workers, so that a call starts at once. On a
    machine with a GPU each worker imports it: imports may open CUDA's driver, which a forked process cannot use.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}.")
    if gpus:
        raise ValueError(f"gpus={gpus:g} needs the executor 'ray'; local processes share all GPUs of the machine.")
    check_main()
    context = multiprocessing.get_context("forkserver")
    called = function.func if isinstance(function, partial) else function
    # Preloading needs importable names: this module always is, a benchmark's module only from its own folder.
    context.set_forkserver_preload([] if torch.cuda.is_available() else [__name__, called.__module__])
    waiting, idle, busy = deque(items), list[_Worker](), dict[Connection, tuple[_Worker, Item]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                worker = idle.pop() if idle else _Worker(context, function)
                item = waiting.popleft()
                with suppress(OSError):  # recv below reports a process that has ended
                    worker.connection.send(item)
                busy[worker.connection] = worker, item
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker, item = busy[connection]
                try:
                    outcome: Result | Failed = connection.recv()
                except (EOFError, OSError):
                    status = worker.stop()
                    if not worker.ready and status == 1:  # Python's own status of an error at its start
                        raise _no_guard(f"they ended while they imported {_script() or 'it'}") from None
                    outcome = Failed(f"The process ended with status {status}.")
                else:
                    if not worker.ready:
                        worker.ready = True
                        continue
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
    """Run the calls on the Ray cluster of ``RAY_ADDRESS``, else on a new one of this machine; see :class:`Executor`.

    Every machine of the cluster must see the Python environment and all files at the same path.
    """
    with require_extra("The executor 'ray'", "Ray", "ray"):
        import ray
    owns_cluster = not ray.is_initialized()
    if owns_cluster:
        size = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": jobs * cpus}
        # Workers also import modules of a checkout that is not installed.
        path = os.pathsep.join(filter(None, sys.path))
        ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}}, **size)
    call = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=int(fresh), max_retries=0)(attempt)
    try:
        waiting = {call.remote(function, item): item for item in items}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            item = waiting.pop(done)
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as error:
                outcome = Failed(f"The worker ended: {error}")
            yield item, outcome
    finally:
        if owns_cluster:
            ray.shutdown()


EXECUTORS: dict[str, Executor] = {"local": local, "ray": ray}
"""The executors that can be chosen by key."""


def check_main() -> None:
    """Refuse to start processes from a script that they cannot import, before any work.

    Raises:
        SystemExit: In a process that imports a script without main guard; the first process raises the error.
        ValueError: If the script is not a file, for example standard input.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)
    if (script := _script()) is not None and not os.path.isfile(script):
        raise _no_guard(f"{script} is not a file")


def _no_guard(problem: str) -> ValueError:
    return ValueError(
        f'Put the call below `if __name__ == "__main__":` in a script file: it starts processes that import the '
        f"script ({problem})."
    )


def _script() -> str | None:
    """The script that Python runs; None for a module, a notebook or a console."""
    main = sys.modules["__main__"]
    return None if getattr(main, "__spec__", None) is not None else getattr(main, "__file__", None)


def log_to(path: Path) -> None:
    """Redirect the output of this process, C libraries included, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("w", encoding="utf-8") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


class _Worker:
    """A process that calls a function for each item it receives."""

    def __init__(self, context: ForkServerContext, function: Callable[[Any], object]) -> None:
        self.ready = False
        """Whether the process has started: it sends a first message."""
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(function, other))
        self.process.start()
        other.close()  # the connection then ends with the process

    def stop(self) -> int | None:
        """Close the connection, which ends the process; wait for it and return its exit status."""
        self.connection.close()
        self.process.join()
        return self.process.exitcode


def _serve(function: Callable[[Any], object], connection: Connection) -> None:
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    with suppress(BrokenPipeError):  # the parent has ended
        connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        connection.send(attempt(function, item))


def attempt(function: Callable[[Item], Result], item: Item) -> Result | Failed:
    """Call a function; an error becomes :class:`Failed`."""
    try:
        return function(item)
    except Exception as error:  # noqa: BLE001 - an item's error is reported and must not stop the others
        return Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


def _end_with_parent() -> None:
    """End this process when its parent is killed, so that a restart does not run beside it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
