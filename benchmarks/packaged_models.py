"""Train the models that are installed with the package, and write them in half precision with a model card.

    python -m benchmarks.packaged_models --data DIR                      # trains all: minutes each on one core
    python -m benchmarks.packaged_models --data DIR --only her2st-small
    python -m benchmarks.packaged_models --cards                         # trains nothing: cards, index, table anew

Each is the model ``small`` of ``configs/accuracy/test.yaml``, seed 0, trained on all sections listed in
``packaged_recipes.py``. Its accuracy is that of the same settings on the splits of that grid, where the test section is
not in training. Writes ``hist2st_pyg/models/weights/<name>`` and ``index.json`` there, which has the SHA-256 of the
files, ``results/packaged``, and the table of ``docs/packaged.md``. A model whose data state no license is only written
to another folder (``--output FOLDER``), for ``hist2st predict FOLDER/<name>``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.config import read_grid
from benchmarks.measures import comparable, versions
from benchmarks.packaged_recipes import RECIPES, Recipe
from benchmarks.reporting.markdown import with_table
from hist2st_pyg.inference import predict_section
from hist2st_pyg.models import ExpressionModel, load_model
from hist2st_pyg.models.packaged import FOLDER, INDEX, Packaged, packaged_models
from hist2st_pyg.models.pretrained import CONFIG, WEIGHTS, save_pretrained
from hist2st_pyg.section import Section
from hist2st_pyg.training import TrainConfig, read_sections, train
from hist2st_pyg.utils.files import write_json, write_text
from hist2st_pyg.utils.resolver import resolve

HERE = Path(__file__).parent
GRID = HERE / "configs" / "accuracy" / "test.yaml"
RESULTS, WORK = HERE / "results", HERE / "work" / "packaged"
PAGE = HERE.parent / "docs" / "packaged.md"
START = "<!-- table: benchmarks.packaged_models -->"
MODEL, REFERENCE = "small", "ridge_neighbors"
MOST_BYTES = 2_500_000
"""Largest size of a packaged model."""


@dataclass(frozen=True)
class HeldOut:
    """The accuracy of the same settings on a held-out section.

    Args:
        trained: The training sections.
        test: The test section.
        seen: Whether another section, or another part, of its patient is in training.
        pcc: The mean PCC over genes of each seed.
        reference: The mean PCC of ridge regression on the patches' statistics, mean over seeds.
        ceiling: The attainable PCC.
    """

    trained: tuple[str, ...]
    test: str
    seen: bool
    pcc: tuple[float, ...]
    reference: float
    ceiling: float

    def whose(self, subject: str) -> str:
        """Describe whose section it is."""
        article = "an" if subject[0] in "aeiou" else "a"
        return f"{article} {subject} {'that also trains' if self.seen else 'never seen'}"


def held_out(recipe: Recipe, results: Path = RESULTS) -> list[HeldOut]:
    """Read the accuracy of a recipe's settings from the result files of the grid.

    Raises:
        ValueError: If there are no results of a split.
    """
    found = []
    for fold in recipe.folds:
        cells = {
            model: [
                json.loads(path.read_text(encoding="utf-8"))
                for path in sorted((results / "accuracy").glob(f"{recipe.dataset}/*/{fold}/{model}/*.json"))
            ]
            for model in (MODEL, REFERENCE)
        }
        if missing := [model for model, of in cells.items() if not of]:
            raise ValueError(f"{results / 'accuracy'} has no result of {missing[0]} on {recipe.dataset}, split {fold}.")
        first = cells[MODEL][0]
        pcc = {model: [cell["metrics"]["pcc_mean"] for cell in of] for model, of in cells.items()}
        found.append(
            HeldOut(
                trained=tuple(first["sections"]["train"]),
                test=" and ".join(first["sections"]["test"]),
                seen=bool(set(first["patients"]["train"]) & set(first["patients"]["test"])),
                pcc=tuple(pcc[MODEL]),
                reference=float(np.mean(pcc[REFERENCE])),
                ceiling=first["metrics"]["ceiling_pcc_mean"],
            )
        )
    return found


def config_of(name: str, recipe: Recipe, data: Path | None, work: Path, grid: Path = GRID) -> TrainConfig:
    """Build the configuration of the grid's model, with all of a recipe's sections in training."""
    cells = [cell for cell in read_grid(grid, data) if (cell.dataset, cell.model) == (recipe.dataset, MODEL)]
    if not cells:
        raise ValueError(f"{grid} has no model {MODEL!r} on {recipe.dataset!r}.")
    config = cells[0].config(wandb="off")
    sections: dict[str, Any] = {"train": list(recipe.sections), "val": [], "test": [], "stripes": None}
    return replace(config, data=replace(config.data, **sections), output=str(work / name), overwrite=True)


def make(config: TrainConfig) -> tuple[ExpressionModel, dict[str, Any]]:
    """Train a packaged model, and compare its predictions in half precision with those in single precision.

    Returns:
        The model in single precision, and the record of its training.
    """
    started = time.perf_counter()
    sections = read_sections(config.data, config.data.train)
    run = train(config, sections)
    model = load_model(run)
    halved = load_model(save_pretrained(model, run / "half", packaged=True))
    record = {
        "config": comparable(config),
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "half_precision": apart(model, halved, sections),
    }
    return model, record


def apart(model: ExpressionModel, halved: ExpressionModel, sections: Iterable[Section]) -> dict[str, float]:
    """Compute the differences between the predictions of two models on sections, in log10 expression.

    Returns:
        ``largest`` and ``mean`` of the absolute differences over spots and genes, and the ``lowest_pcc`` of a gene
        between the two predictions of a section.
    """
    differences, correlations = [], []
    for section in sections:
        one, two = (np.asarray(predict_section(each, section).X, dtype=np.float64) for each in (model, halved))
        differences.append(np.abs(one - two).ravel())
        centered = [each - each.mean(0) for each in (one, two)]
        norms = [np.linalg.norm(each, axis=0) for each in centered]
        varies = (norms[0] > 0) & (norms[1] > 0)
        correlations.append((centered[0] * centered[1]).sum(0)[varies] / (norms[0] * norms[1])[varies])
    every = np.concatenate(differences)
    lowest = float(np.concatenate(correlations).min(initial=1.0))
    return {"largest": float(every.max()), "mean": float(every.mean()), "lowest_pcc": lowest}


def card(recipe: Recipe, genes: int, found: Sequence[HeldOut], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the model's card; see :func:`hist2st_pyg.models.card.model_card`.

    Args:
        recipe: The recipe.
        genes: The number of genes.
        found: The accuracy of the settings.
        record: The record of the model's training.
    """
    rows: dict[str, float | str] = {}
    for held in found:
        what = f"PCC on {held.test}, {held.whose(recipe.subject)}; trained on {', '.join(held.trained)}"
        rows[f"{what}; mean of {len(held.pcc)} seeds"] = _score(held)
        rows[f"attainable on {held.test} (noise ceiling)"] = f"{held.ceiling:.3f}"
        rows[f"ridge regression on the patches' statistics, on {held.test}"] = f"{held.reference:.3f}"
    chosen = ""
    if record["config"]["data"]["panel"] == "variance":
        chosen = "; its panel of variable genes was chosen without that section too, and differs in some genes"
    half = record["half_precision"]
    largest = "largest difference of a prediction from that of the same model in single precision, log10 expression"
    return {
        "title": f"{recipe.species.capitalize()} {recipe.tissue}: {genes} genes from H&E histology",
        "license": recipe.license,
        "data": f"{recipe.source}. {recipe.terms}",
        "split": "This model was trained on all of these sections, so it can be measured on none of them. The results "
        f"below are those of the same setting, trained without the section that it was measured on{chosen}.",
        "metrics": {**rows, f"{largest}, over the training spots and genes": f"{half['largest']:.4f}"},
        "notes": recipe.limits,
    }


def _score(held: HeldOut) -> str:
    deviation = f" ± {np.std(held.pcc, ddof=1):.3f}" if len(held.pcc) > 1 else ""
    return f"{np.mean(held.pcc):.3f}{deviation}"


def pack(
    name: str, model: ExpressionModel, record: Mapping[str, Any], folder: Path, results: Path = RESULTS
) -> Packaged:
    """Write a packaged model with its card.

    Args:
        name: Its name.
        model: The model.
        record: The record of its training.
        folder: The folder of all packaged models.
        results: The folder of the results, for the card.

    Returns:
        Its entry in the index.

    Raises:
        ValueError: If it is larger than a packaged model may be.
    """
    recipe, found = RECIPES[name], held_out(RECIPES[name], results)
    genes = len(model.genes)
    size = sum(value.numel() * (2 if value.dim() > 1 else 4) for value in model.state_dict().values())
    if size > MOST_BYTES:
        raise ValueError(
            f"{name} has {size:,} bytes in half precision; a packaged model may have at most {MOST_BYTES:,}."
        )
    save_pretrained(model, folder / name, card(recipe, genes, found, record), overwrite_card=True, packaged=True)
    hardest = found[0]
    return Packaged(
        species=recipe.species,
        tissue=recipe.tissue,
        genes=genes,
        pcc=round(float(np.mean(hardest.pcc)), 4),
        ceiling=round(hardest.ceiling, 4),
        held_out=f"{hardest.test}, {hardest.whose(recipe.subject)}",
        sha256={file: hashlib.sha256((folder / name / file).read_bytes()).hexdigest() for file in (WEIGHTS, CONFIG)},
    )


def table(folder: Path = FOLDER, results: Path = RESULTS) -> str:
    """Format the packaged models as a Markdown table, with one row per test section."""
    heads = ("name", "tissue", "genes", "trained on", "PCC on", "PCC", "attainable", "MB", "license")
    rows = [heads, ("---",) * 5 + ("---:",) * 3 + ("---",)]
    for name, entry in json.loads((folder / INDEX.name).read_text(encoding="utf-8")).items():
        recipe, size = RECIPES[name], (folder / name / WEIGHTS).stat().st_size
        whole = (f"`{name}`", f"{recipe.species} {recipe.tissue}", str(entry["genes"]), ", ".join(recipe.sections))
        for i, held in enumerate(held_out(recipe, results)):
            where = f"{held.test}, {held.whose(recipe.subject)}"
            ends = (f"{size / 1e6:.1f}", str(recipe.license).upper()) if i == 0 else ("", "")
            rows.append((*(whole if i == 0 else ("",) * 4), where, _score(held), f"{held.ceiling:.3f}", *ends))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_index(name: str, entry: Packaged, folder: Path) -> None:
    """Write or replace an entry of the index, which is in the order of :data:`RECIPES`."""
    path = folder / INDEX.name
    there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    there[name] = asdict(entry)
    write_json(path, {name: there[name] for name in RECIPES if name in there})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets; default: $HIST2ST_DATA, else ../shared")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--cards", action="store_true", help="rewrite cards, index and table without training")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the models; default: the package's")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the run folders")
    arguments = parser.parse_args(argv)
    try:
        packaged = arguments.output.resolve() == FOLDER
        for name in _chosen(arguments.only, packaged, arguments.cards):
            record_file = arguments.results / "packaged" / f"{name}.json"
            if arguments.cards:
                model = load_model(arguments.output / name)
                record = json.loads(record_file.read_text(encoding="utf-8"))
            else:
                recipe = RECIPES[name]
                model, record = make(config_of(name, recipe, arguments.data, arguments.work, GRID))
            entry = pack(name, model, record, arguments.output, arguments.results)
            write_json(record_file, {**record, "sha256": entry.sha256})
            write_index(name, entry, arguments.output)
            print(f"{arguments.output / name}: PCC {entry.pcc:.3f} on {entry.held_out}")
        if packaged:
            packaged_models.cache_clear()
            write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), table(results=arguments.results), START))
    except (ValueError, OSError) as error:
        print(f"benchmarks.packaged_models: {error}", file=sys.stderr)
        return 2
    return 0


def _chosen(only: Sequence[str], packaged: bool, cards: bool) -> list[str]:
    """Select the models to train; those whose data state no license cannot be in the package."""
    for name in only:
        recipe = resolve(RECIPES, name, "--only")
        if packaged and recipe.license is None:
            raise ValueError(
                f"The data of {name} state no license, so it cannot be in the package; write it to another folder by "
                "--output FOLDER."
            )
    names = list(only) or [name for name, recipe in RECIPES.items() if recipe.license is not None or not packaged]
    return [name for name in names if not cards or only or name in packaged_models()]


if __name__ == "__main__":
    sys.exit(main())
