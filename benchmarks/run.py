"""One cell of a benchmark: train by a configuration, predict its test sections, write one JSON.

    python -m benchmarks.run benchmarks/configs/her2st_a.yaml --gnn gat --seed 1

writes ``benchmarks/results/her2st_a/gat/1.json``. The test sections are read once, after training.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from hist2st_pyg.datasets import load_sections
from hist2st_pyg.evaluation.run import evaluate
from hist2st_pyg.files import write_json
from hist2st_pyg.models import load_model
from hist2st_pyg.training import preset_config, train

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("hist2st_pyg", "torch", "torch-geometric", "torch-scatter", "pytorch-lightning", "scanpy", "numpy", "scipy")


def run(config: Path, gnn: str, seed: int, root: str | None = None, results: Path = RESULTS, **training: Any) -> Path:
    """Train and evaluate one cell.

    Args:
        config: A configuration as ``hist2st train`` takes it, with ``data.test``.
        gnn: The graph layer.
        seed: Seed of everything random.
        root: The data set's folder, if not the configuration's.
        results: Folder of the results.
        training: Fields of the training configuration to change.

    Returns:
        The JSON file.
    """
    values: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
    data = {**values["data"], **({"root": root} if root is not None else {})}
    with tempfile.TemporaryDirectory() as folder:
        cell = preset_config(
            values["preset"],
            data={**data, "cache": str(Path(tempfile.gettempdir()) / "hist2st_patches")},
            model={**values.get("model", {}), "gnn": gnn},
            training={**values.get("training", {}), **training},
            seed=seed,
            output=folder,
            wandb="off",
        )
        train(cell)
        summary: dict[str, Any] = yaml.safe_load((Path(folder) / "summary.json").read_text(encoding="utf-8"))
        model = load_model(folder)
    test = load_sections(data["name"], data["root"], data["test"], **data.get("options", {}))
    evaluation = evaluate(model, test)
    summary["config"]["data"]["root"] = summary["config"]["data"]["cache"] = summary["config"]["output"] = None
    path = results / config.stem / gnn / f"{seed}.json"
    write_json(
        path,
        {
            "dataset": data["name"],
            "split": config.stem,
            "model": "hist2st",
            "gnn": gnn,
            "seed": seed,
            "config": summary["config"],
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
            "threads": torch.get_num_threads(),
            "sections": {**summary["sections"], "test": [f"{s.patient}/{s.name}" for s in test]},
            "chosen_epoch": summary["chosen_epoch"],
            "val_pcc": summary["val_pcc"],
            "metrics": {key: value for key, value in evaluation.items() if key != "sections"},
            "test": evaluation["sections"],
            "seconds": summary["seconds"],
            "parameters": summary["parameters"],
        },
    )
    return path


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--gnn", nargs="+", default=["sage"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--root", help="folder of the data set, if not the configuration's")
    arguments = parser.parse_args()
    for gnn in arguments.gnn:
        for seed in arguments.seed:
            print(run(arguments.config, gnn, seed, arguments.root), flush=True)


if __name__ == "__main__":
    main()
