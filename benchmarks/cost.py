"""Tables and picture of time and memory, compared with the published algorithm, and their growth with the spots.

    python -m benchmarks.cost --into benchmarks/SPEED.md

Reads only ``results/speed.json``, ``scale.json``, ``scale_losses.json``, ``ddp.json`` and ``slide/100000.json``, writes
the tables between their comment lines, and draws ``report/cost.png``. A table without a result file says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measures import exponent
from benchmarks.reporting.markdown import table_lines, with_table
from benchmarks.reporting.tables import NONE
from hist2st_pyg.figures import save
from hist2st_pyg.utils.files import write_text
from hist2st_pyg.utils.json_files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
Result = Mapping[str, Any]
Curve = list[tuple[float, float]]
"""Spots and seconds."""


def speed(result: Result) -> str:
    """Format the cost of each task, compared with the published algorithm."""
    heads = ["work", "N", "variant", "ours, s", "reference, s", "ratio", "ours, GB", "reference, GB"]
    rows = []
    for row in result["rows"]:
        pair = [_seconds(row[f"{side}_seconds"]) for side in ("ours", "reference")]
        peaks = [NONE if row[f"{side}_peak_mb"] is None else f"{row[f'{side}_peak_mb'] / 1e3:.1f}"
                 for side in ("ours", "reference")]  # fmt: skip
        ratio = NONE if row["ratio"] is None else f"{row['ratio']:.2g}x"
        rows.append([row["work"], f"{row['n']:,}", row["variant"], *pair, ratio, *peaks])
    return "\n".join([*table_lines([heads, *rows]), "", f"{result['device']}; {_made(result)}"])


def scale(result: Result) -> str:
    """Format the cost of training and evaluation by the number of bins."""
    heads = ["bins", "patches", "training, s", "a 1,000 bins, s", "peak, GB", "evaluation, s", "peak, GB"]
    rows = []
    for row in result["rows"]:
        rows.append([
            f"{row['n']:,}", "cached" if row["cached"] else "cut anew", _seconds(row["train_seconds"]),
            _seconds(1e3 * row["train_seconds"] / row["n"]), f"{row['train_peak_mb'] / 1e3:.1f}",
            _seconds(row.get("evaluate_seconds")),
            f"{row['evaluate_peak_mb'] / 1e3:.1f}" if "evaluate_peak_mb" in row else NONE,
        ])  # fmt: skip
    grows = "; ".join(f"{name}: {value:.2f}" for name, value in result["exponents"].items())
    said = [f"Exponents, the slope of log seconds over log bins: {grows}."] if grows else []
    first = result["rows"][0]
    setting = f"{first['genes']} genes, patches of {first['patch_size']} px, windows of {first['window']} bins"
    return "\n".join(
        [*table_lines([heads, *rows]), "", *said, f"{setting}, epochs: {first['epochs']}; {_made(result)}"]
    )


def losses(result: Result) -> str:
    """Format the PCC of predictions after training with squared error and with a likelihood."""
    heads = ["trained by", "output", "with the target", "with the counts", "with the true shares"]
    rows = [
        [
            f"squared error and `{row['likelihood']}`" if row["likelihood"] else "squared error",
            row["output"],
            *(f"{row[truth]:.3f}" for truth in ("target", "counts", "shares")),
        ]
        for row in result["rows"]
    ]
    first = result["rows"][0]
    setting = f"{first['n']:,} bins, mean counts of a bin: {first['depth']:g}"
    return "\n".join([*table_lines([heads, *rows]), "", f"{setting}; {_made(result)}"])


def devices(result: Result) -> str:
    """Format the cost of the same steps in one process and in two."""
    rows = [
        [name, _seconds(row["seconds"]), f"{row['speed']:.2f}x", f"{row['weights_differ_by']:.0e}"]
        for name, row in result["rows"].items()
    ]
    heads = ["processes", "wall, s", "speed", "weights differ by"]
    return "\n".join([*table_lines([heads, *rows]), "", _made(result)])


def slide(result: Result) -> str:
    """Format the cost of a slide's prediction with its two lower bounds."""
    rows = [
        ["pixels", f"{result['size']:,}² ({result['decoded_mb'] / 1e3:.0f} GB decoded)"],
        ["patches", f"{result['patches']:,}"],
        ["prediction, s", _seconds(result["seconds"])],
        ["reading and cutting alone, s", _seconds(result.get("seconds_reading_alone"))],
        ["the model alone, s", _seconds(result.get("seconds_model_alone"))],
        [
            "prediction over the larger",
            f"{result['over_larger_bound']:.2f}x" if "over_larger_bound" in result else NONE,
        ],
        ["peak of memory, GB", f"{result['peak_mb'] / 1e3:.1f}"],
    ]
    return "\n".join([*table_lines([["", ""], *rows]), "", f"Threads: {result['threads']}; {_made(result)}"])


TABLES: dict[str, tuple[str, Callable[[Result], str]]] = {
    "<!-- table: benchmarks.cost, speed -->": ("speed.json", speed),
    "<!-- table: benchmarks.cost, scale -->": ("scale.json", scale),
    "<!-- table: benchmarks.cost, losses -->": ("scale_losses.json", losses),
    "<!-- table: benchmarks.cost, slide -->": ("slide/100000.json", slide),
    "<!-- table: benchmarks.cost, devices -->": ("ddp.json", devices),
}
"""Each table's first comment line, its result file, and the function that formats it."""


def curves(results: Path) -> dict[str, Curve]:
    """Collect the seconds by number of spots of all tasks measured at two sizes or more, also of the reference."""
    found: dict[str, Curve] = {}
    for row in read_json(results / "speed.json")["rows"] if (results / "speed.json").is_file() else ():
        work = f"{row['work'].replace('_', ' ')}, {row['variant']}"
        for name, seconds in ((work, row["ours_seconds"]), (f"{work}: reference", row["reference_seconds"])):
            if seconds is not None and row["work"] != "patches":
                found.setdefault(name, []).append((row["n"], seconds))
    for row in read_json(results / "scale.json")["rows"] if (results / "scale.json").is_file() else ():
        found.setdefault("hist2st train, an epoch and all before", []).append((row["n"], row["train_seconds"]))
    return {name: sorted(curve) for name, curve in found.items() if len({n for n, _ in curve}) > 1}


def drawn(found: Mapping[str, Curve]) -> Figure:
    """Draw seconds against spots on log axes; dashed lines are the reference, numbers the exponents."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.subplots()
    works = sorted({name.removesuffix(": reference") for name in found})
    for name, curve in found.items():
        work = name.removesuffix(": reference")
        n, seconds = zip(*curve, strict=True)
        axes.plot(
            n, seconds, "o-" if name == work else "o--", color=f"C{works.index(work)}", markersize=3,
            alpha=1 if name == work else 0.6, label=f"{name} (N^{exponent(n, seconds):.2f})",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="spots, N", ylabel="processor seconds")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return figure


def with_tables(text: str, results: Path) -> str:
    """Replace the tables between their comment lines in a page."""
    for start, (name, make) in TABLES.items():
        if start in text:
            known = (results / name).is_file()
            text = with_table(text, make(read_json(results / name)) if known else "Not measured yet.", start)
    return text


def _made(result: Result) -> str:
    """Name the code of the result, or that of its rows where each has its own."""
    rows = result.get("rows", ())
    codes = {row["code"] for row in rows if isinstance(row, dict) and row.get("code")}
    codes = codes or {result["versions"].get("code", "unknown")}
    return f"code: {', '.join(sorted(codes))}, torch {result['versions']['torch']}."


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="pages with the tables' comment lines")
    parser.add_argument("--picture", type=Path, default=HERE / "report" / "cost.png", help="the picture")
    arguments = parser.parse_args(argv)
    try:
        if not (found := curves(arguments.results)):
            raise ValueError(
                f"{arguments.results} has no task measured at two sizes; run benchmarks.speed or benchmarks.scale."
            )
        for path in arguments.into:
            write_text(path, with_tables(path.read_text(encoding="utf-8"), arguments.results))
        save(drawn(found), arguments.picture)
    except (ValueError, OSError) as error:
        print(f"benchmarks.cost: {error}", file=sys.stderr)
        return 2
    print(arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
