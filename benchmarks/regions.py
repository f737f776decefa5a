"""Compare regions on real sections: from predictions, from measured expression, from positions alone.

    python -m benchmarks.regions --data DIR

Reads her2st in DIR, from :data:`FOLDERS`, and writes two files to ``results/regions``. ``labels.json``: agreement of
regions with a pathologist's labels, on all sections with labels, and of models on those that also have an image.
``measured.json``: agreement of a prediction's regions with those of the measured expression of the same section, on all
sections with an image, with or without labels. Agreement is the adjusted Rand index and the normalized mutual
information, averaged over seeds of the clustering; Leiden finds the number of regions, k-means uses that of the labels,
and ``paper`` is the published procedure, which fixes the seed. Each model is trained once.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from benchmarks.measures import versions
from benchmarks.region_scores import Reals, against_labels, against_measured
from hist2st_pyg import Section, load_sections
from hist2st_pyg.analysis.regions import METHODS, PAPER, n_labels
from hist2st_pyg.datasets import paper_panel
from hist2st_pyg.inference import predict_section
from hist2st_pyg.models import load_model
from hist2st_pyg.training import TrainConfig, preset_config, train
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.resolver import resolve

HERE = Path(__file__).parent
DATASET = "her2st"
FOLDERS = ("her2st", "her2st_a1")
"""Folders of the data set; images that the first folder lacks are read from the others."""
MODELS: dict[str, dict[str, Any]] = {
    "small": {},
    # As in configs/accuracy/paper.yaml: the small preset's training time, so no self-distillation. A1's image is a
    # small copy, so patches are 77 µm wide, as the preprocessing's 112 pixels on the other images.
    "paper_recipe": {
        "preset": "paper",
        "data": {"patch_um": 77.0},
        "model": {"n_pos": 128},
        "training": {"n_views": 0, "max_minutes": 5},
    },
    "ridge_neighbors": {"model": {"name": "ridge_neighbors"}},
    "kernel_ridge": {"model": {"name": "kernel_ridge"}},
}
"""The models by their names in the tables, with their changes to the small preset."""
FOLDS = {"C4": ("C2", "C3"), "B4": ("C2", "C3", "C4")}
"""Test sections and their training sections: splits a (the same patient) and b (another) of ACCURACY.md.

Other sections with image and labels are predicted from all other patients' sections.
"""
SEEDS = 5


def predictions_of(
    section: Section, train_on: Sequence[Section], configs: Mapping[str, TrainConfig]
) -> dict[str, Reals]:
    """Train each model on sections, and predict another section from its image alone."""
    return {
        name: np.asarray(predict_section(load_model(train(config, [*train_on, section])), section).X)
        for name, config in tqdm(configs.items(), desc=section.name, leave=False, disable=None)
    }


def config_of(
    name: str, section: str, train_on: Sequence[str], data: Mapping[str, Any], work: Path, epochs: int | None = None
) -> TrainConfig:
    """Build the training configuration of a model of :data:`MODELS` for a section.

    Args:
        name: The model's name in the tables.
        section: The predicted section.
        train_on: The training sections.
        data: The data configuration: name, root, panel.
        work: Folder of the runs.
        epochs: Epochs of the training; None uses the preset's.
    """
    change = resolve(MODELS, name, "model")
    return preset_config(
        change.get("preset", "small"),
        data={
            **data,
            **change.get("data", {}),
            "train": list(train_on),
            "test": [section],
            "split": "section",
            "val_share": 0,
        },
        model=change.get("model"),
        training={**change.get("training", {}), **({} if epochs is None else {"epochs": epochs})},
        output=str(work / section / name),
        wandb="disabled",
    )


def read(data: Path) -> list[Section]:
    """Read the data set's sections with an image or labels, from the existing :data:`FOLDERS`."""
    found = {section.name: section for section in load_sections(DATASET, data / FOLDERS[0])}
    for folder in FOLDERS[1:]:
        if (data / folder).is_dir():
            more = load_sections(DATASET, data / folder)
            found |= {s.name: s for s in more if s.name not in found or found[s.name].image is None}
    return [section for section in found.values() if section.image is not None or section.label is not None]


def folds(sections: Iterable[Section]) -> dict[str, list[str]]:
    """Map test sections with an image to their training sections: :data:`FOLDS`, or all other patients' sections."""
    with_image = {section.name: section for section in sections if section.image is not None}
    result = {
        test: list(names) for test, names in FOLDS.items() if test in with_image and set(names) <= set(with_image)
    }
    for name, section in with_image.items():
        others = [other.name for other in with_image.values() if other.patient != section.patient]
        if section.label is not None and name not in result and others:
            result[name] = others
    return result


def measure(
    sections: Sequence[Section],
    genes: Sequence[str],
    data: Mapping[str, Any],
    work: Path,
    *,
    models: Sequence[str] = tuple(MODELS),
    epochs: int | None = None,
    seeds: int = SEEDS,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compute the contents of ``labels.json`` and ``measured.json``.

    Args:
        sections: The sections.
        genes: The gene panel.
        data: The data configuration of the training: name, root, panel.
        work: Folder of the runs.
        models: The models, keys of :data:`MODELS`.
        epochs: Epochs of a training; None uses the preset's.
        seeds: Number of seeds of the clustering.
    """
    by_name = {section.name: section for section in sections}
    counted = {s.name: n_labels(s.label) for s in sections if s.label is not None and n_labels(s.label) > 1}
    typical = max(2, round(float(np.mean(list(counted.values()))))) if counted else 5
    predicted: dict[str, dict[str, Reals]] = {}
    measured: dict[str, Any] = {}
    chosen = folds(sections)
    configs = {
        name: {model: config_of(model, name, trained, data, work, epochs) for model in models}
        for name, trained in chosen.items()
    }
    for name, trained in tqdm(chosen.items(), desc="trained for", disable=None):
        section = by_name[name]
        predicted[name] = predictions_of(section, [by_name[t] for t in trained], configs[name])
        # The number of the pathologist's labels in this section, or in another section of the patient.
        patient = [k for other, k in counted.items() if by_name[other].patient == section.patient]
        k = counted.get(name, patient[0] if patient else typical)
        measured[name] = {"train": trained, **against_measured(section, genes, predicted[name], k, seeds)}
    labels: dict[str, Any] = {
        name: {"train": chosen.get(name), **against_labels(by_name[name], genes, predicted.get(name, {}), seeds)}
        for name in tqdm(counted, desc="labeled", disable=None)
    }
    facts = {
        "dataset": data["name"],
        "genes": len(genes),
        "seeds": seeds,
        "models": {model: MODELS[model] for model in models},
        "epochs": epochs,
        "versions": versions(),
    }
    return {**facts, "sections": labels}, {**facts, "sections": measured}


def table(result: Mapping[str, Any]) -> str:
    """Format the ARI by section, source and method in Markdown, with the number of regions if the method finds it."""
    methods = [
        m for m in METHODS if any(m in of for part in result["sections"].values() for of in part["scores"].values())
    ]
    lines = [f"| section | source | {' | '.join(f'{method} ARI' for method in methods)} |"]
    lines.append("|---|---|" + "---:|" * len(methods))
    for name, section in result["sections"].items():
        for source, scores in section["scores"].items():
            entries = [_entry(method, scores.get(method)) for method in methods]
            lines.append(f"| {name} | `{source}` | {' | '.join(entries)} |")
    return "\n".join(lines)


def _entry(method: str, score: Mapping[str, float] | None) -> str:
    if score is None:
        return "–"
    if method == PAPER:
        return f"{score['ari']:.3f}"
    regions = f" ({score['regions']:.0f})" if method == "leiden" else ""
    return f"{score['ari']:.2f} ± {score['ari_sd']:.2f}{regions}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HIST2ST_DATA", "../shared")))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "regions", help="folder of the JSON files")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), help="default: all")
    parser.add_argument("--epochs", type=int, help="epochs of a training; default: the preset's")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of the clustering")
    arguments = parser.parse_args(argv)
    root = arguments.data / FOLDERS[0]
    try:
        genes = paper_panel(DATASET, root)
        data = {"name": DATASET, "root": str(root), "panel": "paper"}
        wanted = read(arguments.data)
        options = {"models": arguments.models, "epochs": arguments.epochs, "seeds": arguments.seeds}
        with tempfile.TemporaryDirectory(prefix="regions-") as work:
            results = measure(wanted, genes, data, Path(work), **options)
    except (ValueError, OSError) as error:
        print(f"benchmarks.regions: {error}", file=sys.stderr)
        return 2
    for name, result in zip(("labels", "measured"), results, strict=True):
        write_json(arguments.results / f"{name}.json", result)
        print(f"{arguments.results / name}.json\n{table(result)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
