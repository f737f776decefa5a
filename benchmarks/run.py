"""One cell of a benchmark grid: train, predict the test sections once, write one JSON.

    python -m benchmarks.run benchmarks/configs/her2st_small.yaml --dataset her2st --fold B --model sage --seed 0
    python -m benchmarks.run benchmarks/configs/her2st_small.yaml --index 17     # for array jobs; --count says how many

The JSON is ``results/<dataset>/<split>/<fold>/<model>/<seed>.json``; of a cell that fails there is the traceback in
``<seed>.failed.txt`` instead.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import json
import logging
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.config import Cell, read_grid
from benchmarks.tracking import log_result
from hist2st_pyg.data.convert import Recipe
from hist2st_pyg.data.expression import expression_target, panel_counts
from hist2st_pyg.evaluation.run import evaluate, scalars
from hist2st_pyg.files import write_json, write_text
from hist2st_pyg.inference import model_data, run_model
from hist2st_pyg.models import ExpressionModel, load_model
from hist2st_pyg.section import Section
from hist2st_pyg.training import TrainConfig, config_dict, open_loggers, read_sections, train

HERE = Path(__file__).parent
RESULTS, WORK = HERE / "results", HERE / "work"
PACKAGES = (
    "hist2st_pyg", "torch", "torch-geometric", "torch-scatter", "pytorch-lightning", "scanpy", "scikit-learn", "numpy",
    "scipy", "monai",
)  # fmt: skip
VARIABLE = 50


def run_cell(cell: Cell, results: Path = RESULTS, work: Path = WORK, wandb: str = "auto") -> Path:
    """Train and evaluate one cell.

    Args:
        cell: The cell.
        results: Folder of the results.
        work: Folder of the run folders, wandb's offline runs and the patch cache.
        wandb: As in :class:`~hist2st_pyg.training.TrainConfig`.

    Returns:
        The JSON file.
    """
    torch.set_num_threads(cell.threads)
    config = cell.config(work, wandb)
    output = Path(config.output)
    shutil.rmtree(output, ignore_errors=True)  # what a killed run of this cell left
    with open_loggers(config, output) as loggers:
        train(config, loggers=loggers)
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        model = load_model(output)
        if model.recipe is None:
            raise RuntimeError(f"{output}: a trained model has a recipe.")
        started = time.perf_counter()
        test = read_sections(config.data, config.data.test)
        variable = variable_genes(read_sections(config.data, config.data.train), model.recipe)
        evaluation = evaluate(
            model,
            test,
            figures=output / "figures",
            gene_sets={f"variable_{VARIABLE}": variable},
            cache=config.data.cache,
        )
        seconds = {**summary["seconds"], "evaluate": time.perf_counter() - started}
        sections = {**summary["sections"], "test": [f"{section.patient}/{section.name}" for section in test]}
        path = cell.result(results)
        result = {
            "dataset": cell.dataset,
            "split": cell.split,
            "fold": cell.fold.name,
            "model": cell.model,
            "seed": cell.seed,
            "grid": cell.grid,
            "task": model.task,
            "config": comparable(config),
            "versions": versions(),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "threads": cell.threads,
            "patients": {part: sorted({name.split("/")[0] for name in names}) for part, names in sections.items()},
            "sections": {part: [name.split("/", 1)[1] for name in names] for part, names in sections.items()},
            "panel_sha256": hashlib.sha256("\n".join(model.recipe.genes).encode()).hexdigest(),
            "chosen_epoch": summary["chosen_epoch"],
            "val_pcc": summary["val_pcc"],
            "epochs": summary["epochs"],
            "metrics": scalars(evaluation),
            "per_gene": evaluation["per_gene"],
            "test": {
                name: {"metrics": scalars(numbers), **{key: numbers[key] for key in ("per_gene", "ceiling", "map")}}
                for name, numbers in evaluation["sections"].items()
            },
            "curves": curves(output / "metrics.csv"),
            "seconds": seconds,
            "peak_mb": peak_mb(),
            "parameters": summary["parameters"],
            "flops": forward_flops(model, test[0], config),
            "encoder_weights": summary["encoder_weights"],
        }
        write_json(path, result, indent=None)
        log_result(loggers, result, path, output / "figures")
    failure(path).unlink(missing_ok=True)
    return path


def attempt(cell: Cell, results: Path, work: Path, wandb: str) -> bool:
    """Run a cell; where it fails, leave the traceback beside where its result would be."""
    try:
        run_cell(cell, results, work, wandb)
    except Exception:  # noqa: BLE001 - whatever a user's model raises must not stop the grid; it is kept and reported
        write_text(failure(cell.result(results)), traceback.format_exc())
        return False
    return True


def failure(result: Path) -> Path:
    """Where the traceback of a failed cell is kept."""
    return result.with_suffix(".failed.txt")


def comparable(config: TrainConfig) -> dict[str, Any]:
    """The configuration without what differs between machines."""
    values = config_dict(config)
    for name in ("output", "wandb", "project", "group", "job_type", "run_name", "resume"):
        del values[name]
    values["data"]["root"] = values["data"]["cache"] = None
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def variable_genes(train: Sequence[Section], recipe: Recipe) -> list[str]:
    """The genes of the panel whose target varies most over the training spots."""
    targets = [expression_target(s, panel_counts(s, recipe.genes)[0], recipe.total) for s in train]
    variance = np.concatenate(targets).var(axis=0)
    return [recipe.genes[i] for i in np.argsort(-variance, kind="stable")[:VARIABLE]]


def curves(metrics: Path) -> list[dict[str, float]]:
    """Loss and validation PCC of each epoch, from Lightning's ``metrics.csv``; empty where there is none."""
    if not metrics.exists():
        return []
    epochs: dict[int, dict[str, list[float]]] = {}
    with metrics.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = epochs.setdefault(int(row["epoch"]), {})
            for name in ("train/loss", "val/pcc", "val/loss"):
                if row.get(name):
                    values.setdefault(name, []).append(float(row[name]))
    return [
        {"epoch": epoch, **{name: round(float(np.mean(v)), 5) for name, v in values.items()}}
        for epoch, values in sorted(epochs.items())
    ]


def forward_flops(model: ExpressionModel, section: Section, config: TrainConfig) -> int:
    """Floating-point operations of predicting a section, as torch counts them (an LSTM is not counted)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run_model(model, model_data(model, section, config.data.cache))
    return int(counter.get_total_flops())


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def versions() -> dict[str, str]:
    """The code's commit, where it is a repository, and the packages' versions."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    try:
        commit = subprocess.run(
            ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return found
    return {"code": commit.stdout.strip(), **found}


def add_common(parser: argparse.ArgumentParser) -> None:
    """The arguments that one cell and a whole grid share."""
    parser.add_argument("config", type=Path, help="the grid's YAML file")
    parser.add_argument("--data", type=Path, help="folder of the data sets; default $HIST2ST_DATA, else ../shared")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of run folders, wandb runs, patch cache")
    parser.add_argument("--wandb", choices=["auto", "offline", "online", "off"], default="auto")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    # The longer names are for wandb sweeps, whose parameters must not be named as parts of the run's configuration.
    for name in ("dataset", "fold", "model", "seed"):
        parser.add_argument(f"--{name}", f"--grid_{name}", help=f"the cell's {name}; default the first")
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
        print(f"benchmarks.run: {error}", file=sys.stderr)
        return 2
    path = cell.result(arguments.results)
    if not attempt(cell, arguments.results, arguments.work, arguments.wandb):
        print(failure(path).read_text(encoding="utf-8"), file=sys.stderr)
        return 1
    print(path)
    return 0


def _chosen(cells: list[Cell], arguments: argparse.Namespace) -> Cell:
    if arguments.index is not None:
        if not 0 <= arguments.index < len(cells):
            raise ValueError(f"--index is from 0 to {len(cells) - 1}, got {arguments.index}.")
        return cells[arguments.index]
    for name in ("dataset", "fold", "model", "seed"):
        wanted = getattr(arguments, name)
        known = sorted({str(cell.fold.name if name == "fold" else getattr(cell, name)) for cell in cells})
        if wanted is not None:
            if str(wanted) not in known:
                raise ValueError(f"There is no {name} {wanted!r} in {arguments.config}; there are {', '.join(known)}.")
            cells = [c for c in cells if str(c.fold.name if name == "fold" else getattr(c, name)) == str(wanted)]
    return cells[0]


if __name__ == "__main__":
    sys.exit(main())
