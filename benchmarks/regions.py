"""Regions on real sections: of predictions, of measured expression, of positions alone, beside each other.

    python -m benchmarks.regions --data DIR

Reads her2st in DIR and writes two files to ``results/regions``. ``labels.json``: how well regions agree with a
pathologist's labels, on every section that has labels, of models too where it also has an image. ``measured.json``: how
well regions of a prediction agree with those of the measured expression of the same section, where there is an image;
that needs no labels. Agreement is the adjusted Rand index and the normalised mutual information, averaged over seeds of
the clustering; Leiden finds the number of regions, k-means is given that of the labels.
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
from benchmarks.region_scores import Floats, against_labels, against_measured
from hist2st_pyg import Section, load_sections
from hist2st_pyg.datasets import paper_panel
from hist2st_pyg.evaluation.regions import n_labels
from hist2st_pyg.files import write_json
from hist2st_pyg.inference import predict_section
from hist2st_pyg.models import load_model
from hist2st_pyg.training import preset_config, train

HERE = Path(__file__).parent
DATASET = "her2st"
MODELS = {"small": "hist2st", "ridge_neighbours": "ridge_neighbours"}
"""The models' names in the tables, and their keys; all are trained by the small preset."""
FOLDS = {"C4": ("C2", "C3"), "B4": ("C2", "C3", "C4")}
"""Test sections and what trains for them: splits a (the same patient) and b (another) of ACCURACY.md."""
SEEDS = 5


def predictions_of(
    section: Section, train_on: Sequence[Section], data: Mapping[str, Any], work: Path, epochs: int | None, seed: int
) -> dict[str, Floats]:
    """Train each model on sections, and predict another from its image alone."""
    result = {}
    for name, key in MODELS.items():
        config = preset_config(
            "small",
            data={
                **data,
                "train": [s.name for s in train_on],
                "test": [section.name],
                "split": "section",
                "val_share": 0,
            },
            model={"name": key},
            training={} if epochs is None else {"epochs": epochs},
            output=str(work / section.name / name),
            wandb="disabled",
            seed=seed,
        )
        run = train(config, [*train_on, section])
        result[name] = np.asarray(predict_section(load_model(run), section).X)
    return result


def folds(sections: Iterable[Section]) -> dict[str, list[str]]:
    """Test sections that have an image, and what trains for each: :data:`FOLDS`, or all other patients' sections."""
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
    epochs: int | None = None,
    seeds: int = SEEDS,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Everything that goes into ``labels.json`` and ``measured.json``.

    Args:
        sections: The sections.
        genes: The gene panel.
        data: The data configuration of the training: name, root, panel.
        work: Folder of the runs.
        epochs: Epochs of a training; None takes the preset's.
        seeds: Number of seeds of the clustering.
    """
    by_name = {section.name: section for section in sections}
    counted = {s.name: n_labels(s.label) for s in sections if s.label is not None and n_labels(s.label) > 1}
    typical = max(2, round(float(np.mean(list(counted.values()))))) if counted else 5
    predicted: dict[str, dict[str, Floats]] = {}
    measured: dict[str, Any] = {}
    for name, trained in tqdm(folds(sections).items(), desc="trained for", disable=None):
        section = by_name[name]
        predicted[name] = predictions_of(section, [by_name[t] for t in trained], data, work, epochs, seed=0)
        # As many as the pathologist saw: in this section, or in another of the patient.
        patient = [k for other, k in counted.items() if by_name[other].patient == section.patient]
        k = counted.get(name, patient[0] if patient else typical)
        measured[name] = {"train": trained, **against_measured(section, genes, predicted[name], k, seeds)}
    labels: dict[str, Any] = {
        name: against_labels(by_name[name], genes, predicted.get(name, {}), seeds)
        for name in tqdm(counted, desc="labelled", disable=None)
    }
    facts = {"dataset": data["name"], "genes": len(genes), "seeds": seeds, "versions": versions()}
    return {**facts, "sections": labels}, {**facts, "epochs": epochs, "sections": measured}


def table(result: Mapping[str, Any]) -> str:
    """ARI (and the number of regions) by section, source and method, in Markdown."""
    lines = ["| section | source | Leiden ARI (regions) | k-means ARI |", "|---|---|---:|---:|"]
    for name, section in result["sections"].items():
        for source, scores in section["scores"].items():
            leiden, kmeans = scores.get("leiden"), scores.get("kmeans")
            first = f"{leiden['ari']:.2f} ± {leiden['ari_sd']:.2f} ({leiden['regions']:.0f})" if leiden else "–"
            second = f"{kmeans['ari']:.2f} ± {kmeans['ari_sd']:.2f}" if kmeans else "–"
            lines.append(f"| {name} | `{source}` | {first} | {second} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HIST2ST_DATA", "../shared")))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "regions", help="folder of the JSON files")
    parser.add_argument("--epochs", type=int, help="epochs of a training; default: the preset's")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of the clustering")
    arguments = parser.parse_args(argv)
    root = arguments.data / DATASET
    try:
        genes = paper_panel(DATASET, root)
        data = {"name": DATASET, "root": str(root), "panel": "paper"}
        wanted = [s for s in load_sections(DATASET, root) if s.image is not None or s.label is not None]
        with tempfile.TemporaryDirectory(prefix="regions-") as work:
            results = measure(wanted, genes, data, Path(work), epochs=arguments.epochs, seeds=arguments.seeds)
    except (ValueError, OSError) as error:
        print(f"benchmarks.regions: {error}", file=sys.stderr)
        return 2
    for name, result in zip(("labels", "measured"), results, strict=True):
        write_json(arguments.results / f"{name}.json", result)
        print(f"{arguments.results / name}.json\n{table(result)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
