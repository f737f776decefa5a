"""Run a benchmark grid; skips finished cells, retries failed ones, and continues after a failure.

    python -m benchmarks.grid benchmarks/configs/her2st_small.yaml --jobs 2
    python -m benchmarks.grid benchmarks/configs/her2st_small.yaml --executor ray

The exit status is 1 if a cell failed, 2 if the grid is invalid.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from benchmarks.cell import add_common
from benchmarks.config import Cell, read_grid
from benchmarks.executors import EXECUTORS
from benchmarks.measures import comparable, every_value
from hist2st_pyg.utils.jobs import failure, same_configuration

Report = Callable[[str], None]


def run_grid(
    cells: Sequence[Cell],
    results: Path,
    work: Path,
    *,
    wandb: str = "auto",
    executor: str = "local",
    jobs: int = 1,
    gpus: float = 0,
    overwrite: bool = False,
) -> list[Cell]:
    """Run the cells that have no result yet.

    Args:
        cells: The cells.
        results: Folder of the results.
        work: Folder of run folders, wandb runs, patch cache and logs.
        wandb: As in :class:`~hist2st_pyg.training.TrainConfig`.
        executor: ``"local"`` (processes of this machine) or ``"ray"``.
        jobs: Number of cells in parallel; a Ray cluster runs as many as its resources allow.
        gpus: Number of GPUs per cell, with Ray.
        overwrite: Rerun cells whose result has another configuration, instead of raising an error.

    Returns:
        The failed cells.

    Raises:
        ValueError: If a result has another configuration.
    """
    todo = [cell for cell in cells if not is_done(cell, results, overwrite)]
    say: Report = tqdm.write if sys.stderr.isatty() else lambda line: print(line, flush=True)
    say(f"{len(cells)} cells, {len(cells) - len(todo)} finished, {len(todo)} to run with {executor}.")
    failed: list[Cell] = []
    started = time.perf_counter()
    outcomes: Iterator[tuple[Cell, bool]] = EXECUTORS[executor](todo, results, work, wandb, jobs, gpus)
    for done, (cell, fine) in enumerate(tqdm(outcomes, total=len(todo), unit="cell", disable=None), start=1):
        if not fine:
            failed.append(cell)
        left = (time.perf_counter() - started) / done * (len(todo) - done)
        say(f"[{done}/{len(todo)}] {cell.place}: {_outcome(cell, results, fine)}; about {left / 60:.0f} min left")
    return failed


def is_done(cell: Cell, results: Path, overwrite: bool = False) -> bool:
    """Whether a cell has a result; raises for one of another configuration, or ignores it with ``overwrite``."""
    path = cell.result(results)
    if not path.is_file():
        return False
    before = every_value(json.loads(path.read_text(encoding="utf-8"))["config"])
    now = every_value(comparable(cell.config()))
    return same_configuration(path, before, now, overwrite)


def _outcome(cell: Cell, results: Path, fine: bool) -> str:
    path = cell.result(results)
    if not fine:
        return f"FAILED, see {failure(path)}"
    result = json.loads(path.read_text(encoding="utf-8"))
    pcc, seconds = result["metrics"]["pcc_mean"], sum(result["seconds"].values())
    return f"PCC {pcc:.3f}, {seconds:.0f} s" if pcc is not None else f"no PCC, {seconds:.0f} s"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    parser.add_argument("--executor", choices=sorted(EXECUTORS), default="local")
    parser.add_argument("--jobs", type=int, help="cells in parallel; default: the machine's cores / a cell's threads")
    parser.add_argument("--gpus", type=float, default=0, help="number of GPUs per cell, with ray")
    parser.add_argument("--overwrite", action="store_true", help="rerun cells whose configuration changed")
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        cells = read_grid(arguments.config, arguments.data)
        jobs = arguments.jobs or max(1, (os.cpu_count() or 1) // cells[0].threads)
        failed = run_grid(
            cells,
            arguments.results,
            arguments.work,
            wandb=arguments.wandb,
            executor=arguments.executor,
            jobs=jobs,
            gpus=arguments.gpus,
            overwrite=arguments.overwrite,
        )
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"benchmarks.grid: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"{len(failed)} of {len(cells)} cells failed; run the command again to retry them.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
