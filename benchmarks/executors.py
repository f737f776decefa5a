"""Where the cells of a grid are run: each in a process of its own, on this machine or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import wait
from pathlib import Path

from benchmarks.config import Cell
from benchmarks.run import attempt, failure
from hist2st_pyg.files import write_text

Executor = Callable[[Sequence[Cell], Path, Path, str, int, float], Iterator[tuple[Cell, bool]]]


def local(
    cells: Sequence[Cell], results: Path, work: Path, wandb: str, jobs: int, gpus: float
) -> Iterator[tuple[Cell, bool]]:
    """Run cells in processes of this machine, ``jobs`` at a time; yields each with whether it went well.

    A process is forked from one that has imported everything, so a cell starts at once, its memory is its own, and its
    crash is its own too.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.run"])

    def run(cell: Cell) -> bool:
        process = context.Process(target=_logged, args=(cell, results, work, wandb))
        process.start()
        process.join()
        if process.exitcode not in (0, 1):
            write_text(failure(cell.result(results)), f"The process ended with status {process.exitcode}.\n")
        return process.exitcode == 0

    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run, cell): cell for cell in cells}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _logged(cell: Cell, results: Path, work: Path, wandb: str) -> None:
    """Run a cell with its output in a log file; exit status 1 where it failed."""
    _end_with_parent()
    log = work / "logs" / f"{cell.place}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        fine = attempt(cell, results, work, wandb)
    sys.exit(0 if fine else 1)


def _end_with_parent() -> None:
    """A killed grid must not leave cells running beside those of its next start."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def ray(
    cells: Sequence[Cell], results: Path, work: Path, wandb: str, jobs: int, gpus: float
) -> Iterator[tuple[Cell, bool]]:
    """Run cells on a Ray cluster: that of ``RAY_ADDRESS``, else one started on this machine with room for ``jobs``.

    Every machine of a cluster sees the repository and the folders of data, results and work at the same path.

    Raises:
        ImportError: If Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError("--executor ray needs Ray: pip install 'hist2st_pyg[ray]'.") from error
    threads = max((cell.threads for cell in cells), default=1)
    mine = not ray.is_initialized()
    if mine:
        size = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": jobs * threads}
        # The harness is not installed, so that workers have to be told where it is.
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}}, **size)
    # A worker serves one cell, so that a cell's memory and state are its own.
    task = ray.remote(num_gpus=gpus, max_calls=1, max_retries=0)(attempt)
    try:
        places = (results.resolve(), work.resolve())
        waiting = {task.options(num_cpus=cell.threads).remote(cell, *places, wandb): cell for cell in cells}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            cell = waiting.pop(done)
            try:
                fine = bool(ray.get(done))
            except ray.exceptions.RayError as error:
                write_text(failure(cell.result(results)), f"The worker ended: {error}\n")
                fine = False
            yield cell, fine
    finally:
        if mine:
            ray.shutdown()


EXECUTORS: dict[str, Executor] = {"local": local, "ray": ray}
"""Where a grid can run."""
