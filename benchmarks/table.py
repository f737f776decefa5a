"""Make the README's table of the HER2+ splits from the result files.

    python -m benchmarks.table

reads ``benchmarks/results/her2st_*/<gnn>/<seed>.json`` and rewrites the README between its two comment lines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hist2st_pyg.files import write_text

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
START, END = "<!-- table: benchmarks.table -->", "<!-- end of table -->"
SPLITS = {"her2st_a": "a: C2+C3 → C4, same patient", "her2st_b": "b: C2+C3+C4 → B4, other patient"}


def read(results: Path = HERE / "results") -> dict[str, dict[str, list[dict[str, Any]]]]:
    """All cells, by split and graph layer."""
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path in sorted(results.glob("her2st_*/*/*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        cells.setdefault(cell["split"], {}).setdefault(cell["gnn"], []).append(cell)
    return cells


def table(cells: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """The table in Markdown: mean PCC over genes, mean ± deviation over seeds."""
    layers = sorted({gnn for split in cells.values() for gnn in split}, key=lambda gnn: (gnn == "none", gnn))
    head = ["split", *(f"`{gnn}`" for gnn in layers), "RMSE", "training"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, title in SPLITS.items():
        if name not in cells:
            continue
        scores = {gnn: [c["metrics"]["pcc_mean"] for c in cells[name].get(gnn, [])] for gnn in layers}
        rmse = [c["metrics"]["rmse"] for c in cells[name].get("sage", [])]
        seconds = [c["seconds"]["fit"] for split in cells[name].values() for c in split]
        row = [title, *(_mean(scores[gnn]) for gnn in layers), _mean(rmse)]
        lines.append(f"| {' | '.join([*row, f'{min(seconds):.0f}–{max(seconds):.0f} s'])} |")
    everything = [cell for split in cells.values() for layer in split.values() for cell in layer]
    seeds = sorted({cell["seed"] for cell in everything})
    genes = sorted({section["n_scored"] for cell in everything for section in cell["test"].values()})
    return "\n".join(
        [
            f"Preset `small`: mean PCC over {'/'.join(map(str, genes))} genes of the held-out section, mean ± sd "
            f"over seeds {', '.join(map(str, seeds))}, one core (RMSE: `sage`). `none` is the model without the graph.",
            "",
            *lines,
        ]
    )


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=min(1, len(values) - 1)):.3f}" if values else "–"


def main() -> None:
    """Rewrite the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    _, after = rest.split(END)
    write_text(README, f"{before}{START}\n{table(read())}\n{END}{after}")


if __name__ == "__main__":
    main()
