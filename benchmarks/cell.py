"""Run one cell of a benchmark grid: train, predict the test sections once, write one JSON.

    python -m benchmarks.cell benchmarks/configs/her2st_small.yaml --fold B --model hist2st_sage --seed 0
    python -m benchmarks.cell benchmarks/configs/her2st_small.yaml --index 17     # for array jobs, see --count

The JSON is ``results/<dataset>/<split>/<fold>/<model>/<seed>.json``; a failed cell writes its traceback to
``<seed>.failed.txt`` instead.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.config import Cell, read_grid
from benchmarks.measures import (
    N_VARIABLE_GENES,
    comparable,
    curves,
    forward_flops,
    peak_mb,
    rounded,
    variable_genes,
    versions,
)
from benchmarks.tracking import log_result
from hist2st_pyg.evaluation.model_scores import evaluate, scalars
from hist2st_pyg.models import load_model
from hist2st_pyg.models.training_sections import read_training_sections
from hist2st_pyg.patients import patient_sources
from hist2st_pyg.section import Section
from hist2st_pyg.training import TrainConfig, open_loggers, read_sections, train
from hist2st_pyg.training.config import WandbMode
from hist2st_pyg.utils.executors import attempt
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.jobs import failure, keep_failure
from hist2st_pyg.utils.own_folder import replace_earlier

HERE = Path(__file__).parent
RESULTS, WORK = HERE / "results", HERE / "work"
MARKER = ".cell"
"""The file that marks the run folder of a cell's earlier attempt."""


def run_cell(cell: Cell, results: Path = RESULTS, work: Path = WORK, wandb: str = "auto") -> Path:
    """Train and evaluate one cell.

    Args:
        cell: The cell.
        results: Folder of the results.
        work: Folder of the run folders, wandb's offline runs and the patch cache.
        wandb: As in :class:`~hist2st_pyg.training.TrainConfig`.

    Returns:
        The JSON file.

    Raises:
        FileExistsError: If the cell's run folder has other files than those of an earlier attempt.
    """
    torch.set_num_threads(cell.threads)
    config = cell.config(work, wandb)
    assert config.output is not None
    output = Path(config.output)
    replace_earlier(output, MARKER, "benchmark")  # left by a killed run of this cell
    with open_loggers(config, output) as loggers:
        started, processor = time.perf_counter(), time.process_time()
        names = [*config.data.train, *config.data.val, *config.data.test]
        sections = {section.name: section for section in read_sections(config.data, names)}
        reading = time.perf_counter() - started
        train(config, list(sections.values()), loggers)
        # Of reading, preparing and fitting; independent of other processes.
        processor = time.process_time() - processor
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        model = load_model(output)
        if model.preprocessing is None:
            raise RuntimeError(f"{output}: the trained model has no preprocessing.")
        started = time.perf_counter()
        test = [sections[name] for name in config.data.test]
        variable = variable_genes([sections[name] for name in config.data.train], model.preprocessing)
        evaluation = evaluate(
            model,
            test,
            figures=output / "figures",
            gene_sets={f"variable_{N_VARIABLE_GENES}": variable},
            cache=config.data.cache,
        )
        summary["seconds"]["prepare"] += reading
        summary["seconds"]["evaluate"] = time.perf_counter() - started
        path = cell.result(results)
        result = _result(cell, config, summary, model.task, evaluation, test)
        result |= {
            "panel_sha256": hashlib.sha256("\n".join(model.preprocessing.genes).encode()).hexdigest(),
            "curves": curves(output / "metrics.csv"),
            "flops": forward_flops(model, test[0], config),
            "processor_seconds": processor,
            "peak_mb": peak_mb(),
        }
        write_json(path, result, indent=None)
        log_result(loggers, result, path, output / "figures")
    return path


def _result(
    cell: Cell,
    config: TrainConfig,
    summary: dict[str, Any],
    task: str,
    evaluation: dict[str, Any],
    test: Sequence[Section],
) -> dict[str, Any]:
    """Build the content of the cell's JSON."""
    trained = read_training_sections(summary["sections"], str(config.output))
    parts = {**trained, "test": [section.record for section in test]}
    return {
        "dataset": cell.dataset,
        "split": cell.split,
        "fold": cell.fold.name,
        "model": cell.model,
        "seed": cell.seed,
        "grid": cell.grid,
        "task": task,
        "config": comparable(config),
        "versions": versions(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": cell.threads,
        "patients": {part: sorted({s.patient for s in of if s.patient is not None}) for part, of in parts.items()},
        "patient_sources": patient_sources(record for of in parts.values() for record in of),
        "sections": {part: [record.name for record in of] for part, of in parts.items()},
        "metrics": scalars(evaluation),
        "per_gene": rounded(evaluation["per_gene"]),
        "test": {
            name: {
                "metrics": scalars(numbers),
                "per_gene": rounded(numbers["per_gene"]),
                "ceiling": rounded(numbers["ceiling"]),
                "map": numbers["map"],
            }
            for name, numbers in evaluation["sections"].items()
        },
        **{
            key: summary[key]
            for key in ("chosen_epoch", "val_pcc", "epochs", "seconds", "parameters", "encoder_weights")
        },
    }


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that one cell and a whole grid share."""
    parser.add_argument("config", type=Path, help="the grid's YAML file")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default: $HIST2ST_DATA, else ../shared")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of run folders, wandb runs, patch cache")
    parser.add_argument("--wandb", choices=get_args(WandbMode), default="auto")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    # The longer names are for wandb sweeps, whose parameters must differ from keys of the run's configuration.
    for name in ("dataset", "fold", "model", "seed"):
        parser.add_argument(f"--{name}", f"--grid_{name}", help=f"the cell's {name}; default: the first")
    parser.add_argument("--index", type=int, help="the cell's number, from 0")
    parser.add_argument("--count", action="store_true", help="print the number of cells and stop")
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        cells = read_grid(arguments.config, arguments.data)
        if arguments.count:
            print(len(cells))
            return 0
        cell = _chosen(cells, arguments)
    except (ValueError, TypeError, OSError) as error:
        print(f"benchmarks.cell: {error}", file=sys.stderr)
        return 2
    path = cell.result(arguments.results)
    run = partial(run_cell, results=arguments.results, work=arguments.work, wandb=arguments.wandb)
    if not keep_failure(path, attempt(run, cell)):
        print(failure(path).read_text(encoding="utf-8"), file=sys.stderr)
        return 1
    print(path)
    return 0


def _chosen(cells: list[Cell], arguments: argparse.Namespace) -> Cell:
    if arguments.index is not None:
        if not 0 <= arguments.index < len(cells):
            raise ValueError(f"--index must be from 0 to {len(cells) - 1}, got {arguments.index}.")
        chosen: Cell = cells[arguments.index]
        return chosen
    for name in ("dataset", "fold", "model", "seed"):
        wanted = getattr(arguments, name)
        known = sorted({str(cell.fold.name if name == "fold" else getattr(cell, name)) for cell in cells})
        if wanted is not None:
            if str(wanted) not in known:
                raise ValueError(
                    f"There is no {name} {wanted!r} in {arguments.config}. Choose from: {', '.join(known)}."
                )
            cells = [c for c in cells if str(c.fold.name if name == "fold" else getattr(c, name)) == str(wanted)]
    return cells[0]


if __name__ == "__main__":
    sys.exit(main())
