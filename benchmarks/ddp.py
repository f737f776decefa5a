"""Measure the speed-up by a second training process on CPUs, and check that it trains the same model.

    python -m benchmarks.ddp --spots 600 --epochs 3

One process with two windows per step is compared with two processes with one window each, started by Lightning and by
torchrun. No layer draws random numbers or averages over a batch, so the weights should be equal except for the order of
sums. Each process has one thread; seconds are wall time of the fit alone, so run nothing else at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measures import versions
from hist2st_pyg import load_model
from hist2st_pyg.utils.files import write_json

RESULT = Path(__file__).parent / "results" / "ddp.json"
ROOT = Path(__file__).parents[1]
CLI = ["-m", "hist2st_pyg"]
WAYS = {
    "one process": ([sys.executable, *CLI], 1, 2),
    "two processes by Lightning": ([sys.executable, *CLI], 2, 1),
    "two processes by torchrun": ([sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *CLI], 2, 1),
}
"""The command that starts each variant, its devices, and its windows per step."""


def config(spots: int, epochs: int) -> list[str]:
    """Return arguments of ``hist2st train`` for a model without batch norm, dropout or augmentation."""
    values: dict[str, Any] = {
        "preset": "paper",
        "data.name": "synthetic",
        "data.options": {"patients": 3, "sections_per_patient": 2, "spots": spots},
        "data.test": ["C1", "C2"],
        "data.panel": "variable",
        "data.n_genes": 50,
        "data.patch_size": 16,
        "data.window": spots // 2,
        "model.name": "hist2st",
        "model.vision": "linear",
        "model.transformer_layers": 4,
        "model.dropout": 0,
        "model.gnn": "sage",
        "training.epochs": epochs,
        "training.n_views": 0,
        "accelerator": "cpu",
        "wandb": "disabled",
    }
    return [part for key, value in values.items() for part in (f"--{key}", json.dumps(value).strip('"'))]


def train(way: str, arguments: Sequence[str], output: Path) -> dict[str, Any]:
    """Train in one of the :data:`WAYS`, and return the seconds of the fit and the number of steps."""
    start, devices, windows = WAYS[way]
    own = ["--devices", str(devices), "--training.batch_size", str(windows), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*start, "train", *arguments, *own], check=True, cwd=ROOT, env=environment)
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return {"seconds": summary["seconds"]["fit"], "steps": summary["steps"]}


def difference(a: Path, b: Path) -> float:
    """Compute the largest difference between the weights of two runs, relative to the largest of each tensor."""
    one, other = (load_model(run).state_dict() for run in (a, b))
    return max(
        float((value - other[name]).abs().max() / value.abs().max().clamp(min=1e-30))
        for name, value in one.items()
        if value.is_floating_point() and value.numel()
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure each variant and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=600, help="of a section")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULT)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ddp-") as folder:
        rows = {}
        for way in WAYS:
            rows[way] = train(way, config(given.spots, given.epochs), Path(folder) / way)
            rows[way]["speed"] = rows["one process"]["seconds"] / rows[way]["seconds"]
            rows[way]["weights_differ_by"] = difference(Path(folder) / "one process", Path(folder) / way)
            print(way, rows[way], flush=True)
    write_json(given.output, {"spots": given.spots, "epochs": given.epochs, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    main()
