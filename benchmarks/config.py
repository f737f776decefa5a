"""A benchmark grid: data sets × folds × models × seeds, from one YAML file."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hist2st_pyg.data.splits import SPLITS, Fold
from hist2st_pyg.models import MODELS
from hist2st_pyg.training import PRESETS, TrainConfig, preset_config, read_sections
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import read_yaml
from hist2st_pyg.utils.named_code import refuse_code
from hist2st_pyg.utils.resolver import resolve

EXPLICIT = {"explicit": "test_patient", "explicit_sections": "section"}
"""Splits with folds listed in the file, and the units that they separate."""
KEYS = {"preset", "split", "split_options", "seeds", "threads", "data", "training", "datasets", "models"}
DATASET_KEYS = {"name", "root", "sections", "options", "patients", "data", "folds"}
MODEL_KEYS = {"model", "data", "training"}


@dataclass(frozen=True)
class Cell:
    """One cell of a grid: a model, trained and tested once.

    Args:
        grid: The grid's name.
        dataset: The data set's name in the grid.
        split: The kind of split.
        fold: Sections of training, validation and test.
        model: The model's name in the grid.
        seed: Seed of all random numbers.
        threads: Threads of torch.
        values: Arguments of :func:`~hist2st_pyg.training.preset_config`, except folds and seed.
    """

    grid: str
    dataset: str
    split: str
    fold: Fold
    model: str
    seed: int
    threads: int
    values: dict[str, Any]

    @property
    def place(self) -> Path:
        """The path ``<dataset>/<split>/<fold>/<model>/<seed>``, each part a valid file name."""
        return Path(*map(file_name, (self.dataset, self.split, self.fold.name, self.model)), str(self.seed))

    def result(self, results: Path) -> Path:
        """Return the path of the cell's JSON in the folder of results."""
        return results / f"{self.place}.json"

    def config(self, work: Path | None = None, wandb: str = "disabled") -> TrainConfig:
        """Build the training configuration, with outputs in the work folder."""
        values = self.values
        data = {
            **values["data"],
            **{part: list(getattr(self.fold, part)) for part in ("train", "val", "test")},
            "split": EXPLICIT.get(self.split, "section" if self.split == "leave_one_section_out" else "test_patient"),
            "cache": str(work / "patches") if work is not None else None,
        }
        if not self.fold.val:
            # One training section: hold out squares of it for validation, unless the grid sets val_share: 0.
            data.setdefault("val_share", 0.2)
        return preset_config(
            values["preset"],
            data=data,
            model=values["model"],
            training=values["training"],
            seed=self.seed,
            output=str((work or Path()) / self.place),
            wandb=wandb,
            group=self.grid,
            job_type=self.model,
            run_name=str(self.place),
        )


def read_grid(path: str | Path, data_root: str | Path | None = None) -> list[Cell]:
    """Read all cells of a grid in the order of execution: seeds outermost, so that every model runs early.

    Args:
        path: The YAML file. ``datasets`` maps a name to ``name`` (a key of ``DATASETS``), ``root``, ``sections``,
            ``options``, ``patients``, ``data`` and ``folds``: for explicit splits the sections of each, for others the
            names of those to run, by default all. ``models`` maps a name to ``model``, ``training`` and ``data``.
        data_root: Base folder of the roots; None uses ``HIST2ST_DATA`` or ``../shared``.

    Raises:
        ValueError: If the file has an unknown key, a duplicate key, code, a name that cannot name a folder, or no
            fold; the message names it.
    """
    path = Path(path)
    values = read_yaml(path)
    refuse_code(values, str(path), option=None)
    _check_keys(values, KEYS, str(path))
    if missing := sorted({"datasets", "models"} - set(values)):
        raise ValueError(f"{path}: {missing[0]} is missing.")
    split = values.get("split", "leave_one_patient_out")
    resolve({**SPLITS, **EXPLICIT}, split, f"split in {path}")
    preset = values.get("preset", "small")
    resolve(PRESETS, preset, f"preset in {path}")
    for part in ("datasets", "models"):
        if not isinstance(values[part], dict):
            raise ValueError(f"{path}: {part} must hold a mapping, got {type(values[part]).__name__}.")
    models = {label: _model(label, entry or {}, path) for label, entry in values["models"].items()}
    base = Path(data_root or os.environ.get("HIST2ST_DATA", "../shared"))
    cells = []
    for dataset, entry in values["datasets"].items():
        entry = entry or {}
        _check_keys(entry, DATASET_KEYS, f"{path}: datasets.{dataset}")
        data = {
            "name": entry.get("name", dataset),
            "root": str(base / entry["root"]) if "root" in entry else None,
            "options": entry.get("options", {}),
            "patients": entry.get("patients", {}),
            **values.get("data", {}),
            **entry.get("data", {}),
        }
        folds = _folds(split, entry, data, values.get("split_options", {}), f"{path}: datasets.{dataset}")
        for seed, fold, (label, model) in itertools.product(values.get("seeds", [0]), folds, models.items()):
            merged = {
                "preset": preset,
                "data": {**data, **model.get("data", {})},
                "model": model["model"],
                "training": {**values.get("training", {}), **model.get("training", {})},
            }
            cells.append(Cell(path.stem, dataset, split, fold, label, int(seed), values.get("threads", 1), merged))
    for cell in cells:
        _check_labels(cell, path)
        cell.config()  # raises for a misspelled key before any cell runs
    return cells


def _check_labels(cell: Cell, path: Path) -> None:
    """Raise if the name of a data set, fold or model would lead out of the folder of results."""
    for what, name in (("datasets", cell.dataset), ("the fold", cell.fold.name), ("models", cell.model)):
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
            raise ValueError(
                f"{path}: {what}: {name!r} cannot name a folder of results; choose a name without slashes."
            )


def _model(label: str, entry: dict[str, Any], path: Path) -> dict[str, Any]:
    _check_keys(entry, MODEL_KEYS, f"{path}: models.{label}")
    model = {"name": label, **entry.get("model", {})}
    resolve(MODELS, model["name"], f"model in {path}: models.{label}")
    return {**entry, "model": model}


def _folds(split: str, entry: dict[str, Any], data: dict[str, Any], options: dict[str, Any], where: str) -> list[Fold]:
    if split in EXPLICIT:
        if not entry.get("folds"):
            raise ValueError(f"{where}: split={split!r} needs folds, each with train, test and optionally val.")
        return [
            Fold(name, *(tuple(fold.get(part, ())) for part in ("train", "val", "test")))
            for name, fold in entry["folds"].items()
        ]
    folds = SPLITS[split](read_sections(preset_config(data=data).data, entry.get("sections")), **options)
    by_name = {fold.name: fold for fold in folds}
    names = entry.get("folds", list(by_name))
    if not isinstance(names, list) or not names:
        raise ValueError(
            f"{where}: folds must list names of folds of split={split!r} ({', '.join(by_name)}), got {names!r}; "
            "explicit splits take sections by fold."
        )
    return [resolve(by_name, name, f"folds in {where}") for name in names]


def _check_keys(values: dict[str, Any], known: set[str], where: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{where} must hold a mapping, got {type(values).__name__}.")
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}. Choose from: {', '.join(sorted(known))}.")
