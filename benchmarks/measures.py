"""Collect the contents of a cell's result besides metrics: configuration, code, curves, cost."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hist2st_pyg.data.expression import most_varying
from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.inference import model_data, run_model
from hist2st_pyg.models import MODELS, ExpressionModel
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.section import Section
from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig, config_dict
from hist2st_pyg.utils.optional import installed_version

PACKAGES = (
    "hist2st_pyg", "torch", "torch-geometric", "torch-scatter", "pytorch-lightning", "scanpy", "scikit-learn", "numpy",
    "scipy", "monai",
)  # fmt: skip
N_VARIABLE_GENES = 50


def comparable(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration without values that differ between machines."""
    values = config_dict(config)
    tracked = ("wandb", "project", "group", "job_type", "run_name", "entity", "tags", "notes")
    for name in ("output", "overwrite", "resume", "strategy", "num_workers", "memory_gb", *tracked):
        del values[name]
    values["data"]["root"] = values["data"]["cache"] = None
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def every_value(config: dict[str, Any]) -> dict[str, Any]:
    """Expand a configuration of :func:`comparable` to all options, including defaults, by names such as ``data.k``.

    Two cells are the same if these are equal: options that a later version added have their defaults in earlier
    results, and the preset of the values does not matter.
    """
    model = parameters_of(MODELS[config["model"]["name"]])
    defaults = {"data": asdict(DataConfig()), "training": asdict(TrainingConfig()), "model": model}
    values = {f"{part}.{name}": v for part, of_part in defaults.items() for name, v in of_part.items()}
    for part, of_part in config.items():
        values.update({f"{part}.{n}": v for n, v in of_part.items()} if isinstance(of_part, dict) else {part: of_part})
    del values["preset"]
    return values


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Fit the exponent of growth: the slope of the values' logarithm over that of the sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def variable_genes(train: Sequence[Section], preprocessing: Preprocessing) -> list[str]:
    """Select the genes of the panel with the highest variance of the target over the training spots."""
    return [
        preprocessing.genes[i]
        for i in most_varying(train, preprocessing.genes, N_VARIABLE_GENES, preprocessing.normalize_by)
    ]


def curves(metrics: Path) -> list[dict[str, float]]:
    """Read loss and validation PCC of each epoch from ``metrics.csv``; empty without the file."""
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


def rounded(scores: dict[str, float | None]) -> dict[str, float | None]:
    """Round the correlations of genes to four decimals, which halves a file of thousands."""
    return {gene: value if value is None else round(value, 4) for gene, value in scores.items()}


def forward_flops(model: ExpressionModel, section: Section, config: TrainConfig) -> int:
    """Count floating-point operations of predicting a section, by torch's counter (which skips an LSTM)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run_model(model, model_data(model, section, config.data.cache))
    return int(counter.get_total_flops())


def rows_with_code(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a result file, each with the commit that made it; the file's where a row has none."""
    code = result["versions"].get("code")
    return [{"code": code, **row} for row in result["rows"]]


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def versions() -> dict[str, str]:
    """Return the code's commit, if it is in a repository, and the packages' versions."""
    found = {name: version for name in PACKAGES if (version := installed_version(name)) is not None}
    try:
        commit = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return found
    return {"code": commit.stdout.strip(), **found}
