"""Read the result files of a benchmark, check them, and group them by data set and split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hist2st_pyg.section import PatientSource
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.jobs import FAILED

Cell = dict[str, Any]
Value = Callable[[Cell], float | None]

PATTERN = "*/*/*/*/*.json"
PLACE = ("dataset", "split", "fold", "model", "seed")
REQUIRED = (
    *PLACE, "task", "config", "versions", "device", "threads", "patients", "sections", "panel_sha256", "metrics",
    "per_gene", "test", "curves", "seconds",
)  # fmt: skip
TASKS = {
    "prediction": "Prediction from the image.",
    "interpolation": "Uses measured spots of the test section: another, easier task.",
    "diagnostic": "Uses the measured depth of the test spots: shows what depth alone explains, predicts nothing.",
}
"""The input of each task from the test section."""


@dataclass(frozen=True)
class Failure:
    """A cell that ended with an error.

    Args:
        dataset: The data set.
        split: The split.
        fold: The fold.
        model: The model.
        seed: The seed.
        message: The last line of its traceback.
    """

    dataset: str
    split: str
    fold: str
    model: str
    seed: str
    message: str


@dataclass(frozen=True)
class Group:
    """All cells of one data set and split.

    Args:
        dataset: The data set.
        split: The split.
        cells: Its results.
        failures: Its failed cells.
    """

    dataset: str
    split: str
    cells: tuple[Cell, ...]
    failures: tuple[Failure, ...]

    @property
    def folds(self) -> list[str]:
        """The folds with at least one result."""
        return sorted({cell["fold"] for cell in self.cells})

    @property
    def seeds(self) -> list[int]:
        """All seeds."""
        return sorted({cell["seed"] for cell in self.cells})

    @property
    def n_expected(self) -> int:
        """The number of cells of a complete model: every fold with every seed of any model, including failed cells."""
        folds = {*self.folds, *(failure.fold for failure in self.failures)}
        return len(folds) * len({*map(str, self.seeds), *(failure.seed for failure in self.failures)})

    def models(self, task: str = "prediction") -> list[str]:
        """List the models of a task by mean PCC, best first; models that lack a fold have no mean and come last."""
        names = {cell["model"] for cell in self.cells if cell["task"] == task}
        means = {name: self.mean(name, metric("pcc_mean")) for name in names}
        return sorted(names, key=lambda name: (means[name] is None, -(means[name] or 0.0), name))

    def of(self, model: str, fold: str | None = None) -> list[Cell]:
        """Return the cells of a model, of one fold or of all, by seed."""
        return [c for c in self.cells if c["model"] == model and fold in (None, c["fold"])]

    def by_fold(self, model: str, value: Value) -> dict[str, list[float]]:
        """Return the numbers of all seeds, by fold."""
        numbers = {fold: [value(cell) for cell in self.of(model, fold)] for fold in self.folds}
        return {fold: known for fold, seeds in numbers.items() if (known := [n for n in seeds if n is not None])}

    def mean(self, model: str, value: Value, per_cell: bool = False) -> float | None:
        """Average over seeds, then over test sections.

        Args:
            model: The model.
            value: Reads the number, a cell's mean over its test sections.
            per_cell: Weight every fold equally, regardless of its number of test sections; for a cell's cost.

        Returns:
            None if the model lacks a fold in which others have the number.
        """
        needed = {cell["fold"] for cell in self.cells if value(cell) is not None}
        seeds = self.by_fold(model, value)
        if not seeds or set(seeds) != needed:
            return None
        weights = [1 if per_cell else len(self.of(model, fold)[0]["test"]) for fold in seeds]
        return float(np.average([np.mean(numbers) for numbers in seeds.values()], weights=weights))

    def deviation(self, model: str, value: Value) -> float | None:
        """Compute the deviation of the folds' means, or of the seeds with a single fold; None for a single number."""
        seeds = list(self.by_fold(model, value).values())
        numbers = [float(np.mean(v)) for v in seeds] if len(self.folds) > 1 else [n for v in seeds for n in v]
        return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None


def metric(name: str) -> Value:
    """Return a function that reads a metric of a cell; None if the cell lacks it."""

    def value(cell: Cell) -> float | None:
        found: float | None = cell["metrics"].get(name)
        return found

    return value


def read_cells(folder: str | Path) -> list[Cell]:
    """Read every result of a folder.

    Args:
        folder: Folder of ``<dataset>/<split>/<fold>/<model>/<seed>.json``.

    Raises:
        ValueError: If the folder has no result or an invalid one; the message names the file.
    """
    paths = sorted(Path(folder).glob(PATTERN))
    if not paths:
        raise ValueError(f"There is no result in {folder}: nothing matches {PATTERN}. Run benchmarks.grid first.")
    cells = [_read(path) for path in paths]
    return sorted(cells, key=lambda cell: tuple(cell[name] for name in PLACE))


def _read(path: Path) -> Cell:
    try:
        cell: Cell = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if missing := [name for name in REQUIRED if name not in cell]:
        raise ValueError(f"{path} lacks {', '.join(missing)}.")
    if cell["task"] not in TASKS:
        raise ValueError(f"{path}: unknown task {cell['task']!r}. Choose from: {', '.join(TASKS)}.")
    place = _place(path)
    if wrong := [name for name, part in zip(PLACE, place, strict=True) if file_name(str(cell[name])) != part]:
        raise ValueError(f"{path} holds {wrong[0]}={cell[wrong[0]]!r}, which contradicts its path.")
    return cell


def patient_sources(cell: Cell) -> dict[PatientSource, list[str]]:
    """Group the sections of a cell by the source of their patients.

    Earlier results do not record the source: it is ``"given"`` if their configuration sets the patients,
    ``"unrecorded"`` if patients have names of sections, as in data sets without patients, otherwise ``"dataset"``.
    """
    if "patient_sources" in cell:
        recorded: dict[PatientSource, list[str]] = cell["patient_sources"]
        return recorded
    sections = [name for names in cell["sections"].values() for name in names]
    patients = {patient for of_part in cell["patients"].values() for patient in of_part}
    if cell["config"].get("data", {}).get("patients"):
        return {"given": sections}
    unnamed = patients & {*sections, *(name.rpartition("_")[0] for name in sections)}
    return {"unrecorded" if unnamed else "dataset": sections}


def read_failures(folder: str | Path) -> list[Failure]:
    """Read the last line of every failed cell's traceback."""
    failures = []
    for path in sorted(Path(folder).glob(PATTERN.replace(".json", FAILED))):
        lines = path.read_text(encoding="utf-8").strip().splitlines()
        failures.append(Failure(*_place(path), lines[-1].strip() if lines else "no message"))
    return failures


def _place(path: Path) -> tuple[str, str, str, str, str]:
    dataset, split, fold, model = path.parts[-5:-1]
    return dataset, split, fold, model, path.name.removesuffix(".json").removesuffix(FAILED)


def grouped(cells: Iterable[Cell], failures: Sequence[Failure] = ()) -> list[Group]:
    """Group results by data set and split, in alphabetical order; a split in which every cell failed is a group too."""
    cells = list(cells)
    keys = {(c["dataset"], c["split"]) for c in cells} | {(f.dataset, f.split) for f in failures}
    return [
        Group(
            dataset,
            split,
            tuple(c for c in cells if (c["dataset"], c["split"]) == (dataset, split)),
            tuple(f for f in failures if (f.dataset, f.split) == (dataset, split)),
        )
        for dataset, split in sorted(keys)
    ]
