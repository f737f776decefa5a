"""Measure the gain of graph layers on synthetic sections, whose dependence on neighbors is known.

    python -m benchmarks.graph_gain                                     # half an hour on one core
    python -m benchmarks.graph_gain --layers all --seeds 0 1 2 3 4 --spots 64 144 400 1600

In the synthetic sections, expression depends on the tissue under a spot and, with similar weights, on the tissue around
it, so neighbors help if the patches do not show them. One setting varies at a time: the spots of a section, the widest
field of view (in spot distances), and the number of training sections, each of another patient; the test sections are
of separate patients. Each seed is another cohort. Models are ``graph_only`` of the ``small`` preset: statistics of the
patches, then the layer. ``no edges`` is SAGE on a graph without edges: the same depth and width, without neighbors. For
comparison, real splits are shown: Hist2ST's networks in the cells of ``her2st_small`` and ``mob_small``. Writes
``results/graph_gain.json`` and ``report/graph_gain.png``; ``--draw`` only draws.

The file is written after each setting. Models that it has are not trained again, so that a call continues an
interrupted one, or adds layers, settings and seeds; each row has the code that made it. ``--overwrite`` trains all.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from tqdm.auto import tqdm

from benchmarks.measures import rows_with_code, versions
from benchmarks.reporting.cells import Cell, read_cells
from hist2st_pyg import evaluate, load_sections, make_datamodule, make_model, preset_config
from hist2st_pyg.figures import save
from hist2st_pyg.nn import CONVS
from hist2st_pyg.training import ExpressionTask, SectionDataModule, TrainConfig
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.json_files import read_json
from hist2st_pyg.utils.quiet import without_lines
from hist2st_pyg.utils.resolver import resolve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, float | str | None]
HERE = Path(__file__).parent
GRIDS = {"her2st_small": "breast", "mob_small": "bulb"}
"""The grids of real sections, and their tissues."""
RESULTS, PICTURE = HERE / "results" / "graph_gain.json", HERE / "report" / "graph_gain.png"
NONE, NO_EDGES = "none", "no edges"
LAYERS = ("sage", "gat", "gcn", "hist2st")
TEST = ("Y1", "Z1")
"""Test sections of two patients without training sections."""
GENES = 40
AXES = {"spots": "spots of a section", "field": "widest field of view, spot distances", "sections": "training sections"}


@dataclass(frozen=True)
class Setting:
    """A setting in which models are compared.

    Args:
        spots: Spots of each section.
        field: The widest field of view in spot distances; a field wider than 1 is added to that of 1.
        sections: Training sections, each of a separate patient.
    """

    spots: int = 144
    field: float = 1.0
    sections: int = 4


BASE = Setting()
"""The setting from which each other one differs in one value."""


def settings(values: Mapping[str, Sequence[float]], base: Setting) -> list[Setting]:
    """List the settings that differ from the base in one value, each once."""
    axes: dict[str, list[Any]] = {axis: list(given) for axis, given in values.items()}
    changed = [replace(base, **{axis: value}) for axis, given in axes.items() for value in given]
    return list(dict.fromkeys([base, *changed]))


def config_of(setting: Setting, layer: str, seed: int, epochs: int) -> TrainConfig:
    """Build the configuration of a model in a setting."""
    return preset_config(
        "small",
        data={
            "train": [f"{letter}1" for letter in "ABCDEFGHIJKLMNOPQRSTUVWX"[: setting.sections]],
            "test": list(TEST),
            "n_genes": GENES,
            "scales": [1.0] if setting.field == 1 else [1.0, setting.field],
            **({"max_distance": 1e-6} if layer == NO_EDGES else {}),
        },
        model={"name": "graph_only", "gnn": "sage" if layer == NO_EDGES else layer},
        training={"epochs": epochs},
        seed=seed,
        wandb="off",
    )


def score(config: TrainConfig, datamodule: SectionDataModule) -> float:
    """Train a model, and return its mean PCC over genes and test sections."""
    pl.seed_everything(config.seed, verbose=False)
    model = make_model(config, datamodule)
    with without_lines("pytorch_lightning", "lightning_fabric"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on loggers and workers
        trainer = pl.Trainer(
            max_epochs=config.training.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(ExpressionTask(model, config.training), datamodule=datamodule)
    return float(evaluate(model.eval(), datamodule.sections["test"])["pcc_mean"])


def scores_of(setting: Setting, layers: Sequence[str], seed: int, epochs: int) -> Iterator[tuple[str, float]]:
    """Compute the PCC of each layer in a setting, on the cohort of a seed; all layers share the patches."""
    options: dict[str, Any] = {"seed": seed, "patients": 26, "sections_per_patient": 1, "spots": setting.spots}
    first = config_of(setting, NONE, seed, epochs)
    sections = load_sections("synthetic", names=[*first.data.train, *TEST], **options)
    shared = make_datamodule(first, sections)
    shared.setup("fit")
    shared.add_statistics()
    for layer in layers:
        config = config_of(setting, layer, seed, epochs)
        datamodule = shared
        if layer == NO_EDGES:
            datamodule = make_datamodule(config, sections)
            datamodule.add_statistics()
        yield layer, score(config, datamodule)


def run(
    places: Sequence[Setting],
    layers: Sequence[str],
    seeds: Sequence[int],
    epochs: int,
    known: Sequence[Row] = (),
    code: str | None = None,
) -> Iterator[list[Row]]:
    """Train the models that have no row yet; yield all rows, one for each setting, seed and layer, after each setting.

    Args:
        places: The settings.
        layers: The graph layers.
        seeds: Seeds of cohort and training.
        epochs: Epochs of each training.
        known: Rows of earlier calls.
        code: The commit of this program.
    """
    rows = list(known)
    has = {(*(row[name] for name in vars(BASE)), row["seed"], row["layer"]) for row in rows}
    for seed in seeds:
        for setting in tqdm(places, desc=f"seed {seed}", disable=None):
            left = [layer for layer in layers if (*vars(setting).values(), seed, layer) not in has]
            for layer, pcc in scores_of(setting, left, seed, epochs) if left else ():
                rows.append({**vars(setting), "seed": seed, "layer": layer, "pcc": round(pcc, 5), "code": code})
            yield rows


NOTHING: dict[str, Any] = {"values": {}, "layers": [], "seeds": [], "rows": []}
"""The result before any call."""


def earlier(path: Path, epochs: int) -> dict[str, Any]:
    """Read the result of earlier calls, :data:`NOTHING` if there is none.

    Raises:
        ValueError: If the file has another base setting or another number of epochs.
    """
    if not path.is_file():
        return NOTHING
    found: dict[str, Any] = read_json(path)
    for name, now in (("base", vars(BASE)), ("epochs", epochs)):
        if found[name] != now:
            raise ValueError(
                f"{path} was made with {name} {found[name]}, not {now}; give another --output, or pass --overwrite."
            )
    return {**found, "rows": rows_with_code(found)}


def gains(rows: Sequence[Mapping[str, Any]], setting: Setting, layer: str) -> list[float]:
    """Compute the PCC of a layer minus that without layers, for each seed that has both."""
    here = [row for row in rows if all(row[name] == value for name, value in vars(setting).items())]
    pcc = {(row["layer"], row["seed"]): row["pcc"] for row in here}
    seeds = sorted({row["seed"] for row in here})
    return [pcc[layer, seed] - pcc[NONE, seed] for seed in seeds if {(layer, seed), (NONE, seed)} <= pcc.keys()]


def ranges(result: Mapping[str, Any]) -> dict[str, list[float]]:
    """Compute the smallest and the largest gain of each layer over the settings, means over cohorts."""
    places = settings(result["values"], Setting(**result["base"]))
    found = {
        layer: [float(np.mean(gain)) for place in places if (gain := gains(result["rows"], place, layer))]
        for layer in result["layers"]
        if layer != NONE
    }
    return {layer: [round(min(means), 5), round(max(means), 5)] for layer, means in found.items() if means}


def real_gains(cells: Sequence[Cell], layer: str) -> dict[str, list[float]]:
    """Compute the gain of a layer on real sections, for each seed, by test patient."""
    found: dict[str, list[float]] = {}
    pcc = {(c["grid"], c["fold"], c["model"], c["seed"]): c["metrics"]["pcc_mean"] for c in cells if c["grid"] in GRIDS}
    for (grid, fold, model, seed), value in sorted(pcc.items()):
        without = pcc.get((grid, fold, f"hist2st_{NONE}", seed))
        if model == f"hist2st_{layer}" and without is not None:
            found.setdefault(f"{GRIDS[grid]}\n{fold}", []).append(value - without)
    return found


def drawn(result: Mapping[str, Any], cells: Sequence[Cell]) -> Figure:
    """Draw the gain of each layer along each axis and on real sections: mean over seeds, and its standard error.

    Args:
        result: The result file.
        cells: The results of the grids of real sections.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.8), layout="constrained")
    panels = figure.subplots(1, len(AXES) + 1, sharey=True)
    _draw_real(panels[-1], result["layers"], cells)
    base = Setting(**result["base"])
    for panel, (axis, words) in zip(panels[:-1], AXES.items(), strict=True):
        values = sorted({getattr(base, axis), *result["values"][axis]})
        for layer in (name for name in result["layers"] if name != NONE):
            found = [gains(result["rows"], replace(base, **{axis: value}), layer) for value in values]
            _curve(panel, found, layer, "--" if layer == NO_EDGES else "-")
        panel.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        panel.set_xlabel(words)
    for panel in panels:
        panel.axhline(0, color="black", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("PCC less that without a graph")
    panels[0].legend(frameon=False, fontsize=8)
    named = f"{base.spots} spots, field of view {base.field:g}, {base.sections} training sections"
    said = f"Synthetic sections; where nothing else is said: {named}; {len(result['seeds'])} cohorts, ± standard error"
    figure.suptitle(said, fontsize=9)
    return figure


def _curve(panel: Axes, found: Sequence[Sequence[float]], layer: str, line: str) -> None:
    """Draw mean and standard error of the gains at each position; a layer has the same color in all panels."""
    known = [i for i, each in enumerate(found) if each]
    found = [found[i] for i in known]
    error = [np.std(each, ddof=1) / len(each) ** 0.5 if len(each) > 1 else 0 for each in found]
    color = "gray" if layer == NO_EDGES else f"C{sorted(CONVS).index(layer)}"
    panel.errorbar(
        known, [np.mean(each) for each in found], error, label=layer, color=color, linestyle=line,
        capsize=2, marker="o", markersize=3,
    )  # fmt: skip


def _draw_real(panel: Axes, layers: Sequence[str], cells: Sequence[Cell]) -> None:
    """Draw each layer's gain by test patient; points are not joined, because patients have no order."""
    by_layer = {layer: found for layer in layers if layer != NONE and (found := real_gains(cells, layer))}
    patients = sorted({patient for found in by_layer.values() for patient in found})
    for layer, found in by_layer.items():
        if list(found) == patients:
            _curve(panel, list(found.values()), layer, "none")
    panel.set_xticks(range(len(patients)), patients, fontsize=8)
    panel.margins(x=0.15)
    panel.set_xlabel("real sections: test patient")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), help=f"all, or of {', '.join(CONVS)}")
    parser.add_argument("--spots", type=int, nargs="+", default=[36, 64, 324])
    parser.add_argument("--field", type=float, nargs="+", default=[2.0, 3.5, 6.0])
    parser.add_argument("--sections", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--overwrite", action="store_true", help="train all anew")
    parser.add_argument("--draw", action="store_true", help="draw the existing results without training")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--cells", type=Path, default=RESULTS.parent, help="folder of the grids' results")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the picture")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.draw:
            named = [name for name in CONVS if name != NONE] if arguments.layers == ["all"] else arguments.layers
            for name in named:
                resolve(CONVS, name, "--layers")
            values = {axis: getattr(arguments, axis) for axis in AXES}
            layers = [NONE, NO_EDGES, *named]
            made_by = versions()  # before writing results, which make the checkout dirty
            before = NOTHING if arguments.overwrite else earlier(arguments.output, arguments.epochs)
            result = {
                "base": vars(BASE),
                "values": {axis: sorted({*before["values"].get(axis, ()), *values[axis]}) for axis in AXES},
                "layers": list(dict.fromkeys([*before["layers"], *layers])),
                "seeds": sorted({*before["seeds"], *arguments.seeds}),
                "epochs": arguments.epochs,
                "versions": made_by,
            }
            torch.set_num_threads(1)
            places = settings(values, BASE)
            for rows in run(places, layers, arguments.seeds, arguments.epochs, before["rows"], made_by.get("code")):
                result["rows"] = rows
                write_json(arguments.output, result | {"range": ranges(result)})
        result = read_json(arguments.output)
        save(drawn(result, read_cells(arguments.cells)), arguments.picture)
    except (ValueError, OSError) as error:
        print(f"benchmarks.graph_gain: {error}", file=sys.stderr)
        return 2
    print(arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
