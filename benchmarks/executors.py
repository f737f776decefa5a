"""Run the cells of a grid, each in a separate process, on this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.cell import run_cell
from benchmarks.config import Cell
from hist2st_pyg.utils import executors
from hist2st_pyg.utils.jobs import keep_failure

Executor = Callable[[Sequence[Cell], Path, Path, str, int, float], Iterator[tuple[Cell, bool]]]


def run_cells(
    key: str, cells: Sequence[Cell], results: Path, work: Path, wandb: str, jobs: int, gpus: float
) -> Iterator[tuple[Cell, bool]]:
    """Run cells by one of :data:`hist2st_pyg.utils.executors.EXECUTORS`, and yield each with its success.

    Every machine of a cluster must see the repository and the folders of data, results and work at the same path.
    """
    run = partial(_logged, results.resolve(), work.resolve(), wandb)
    threads = max((cell.threads for cell in cells), default=1)
    outcomes = executors.EXECUTORS[key](run, cells, jobs=jobs, cpus=threads, gpus=gpus, fresh=True)
    for cell, outcome in outcomes:
        yield cell, keep_failure(cell.result(results), outcome)


def _logged(results: Path, work: Path, wandb: str, cell: Cell) -> Path:
    """Run a cell with its output in a log file."""
    executors.log_to(work / "logs" / f"{cell.place}.txt")
    return run_cell(cell, results, work, wandb)


EXECUTORS: dict[str, Executor] = {key: partial(run_cells, key) for key in executors.EXECUTORS}
"""The executors of a grid."""

local = EXECUTORS["local"]
