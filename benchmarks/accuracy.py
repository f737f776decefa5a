"""Tables and pictures of the accuracy on five splits of real sections, relative to the attainable correlation.

    python -m benchmarks.accuracy --into README.md benchmarks/ACCURACY.md

Reads only the result files of ``configs/accuracy``, writes the tables between their comment lines in each file (the
summary into README.md, the others into ACCURACY.md), and draws ``report/accuracy/share_of_ceiling.png`` and
``time_to_accuracy.png``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.reporting.accuracy_pictures import ceiling, share_of_ceiling, time_to_accuracy
from benchmarks.reporting.cells import Cell, Group, metric, read_cells
from benchmarks.reporting.comparison import compared
from benchmarks.reporting.facts import leaks
from benchmarks.reporting.markdown import table_lines, with_table
from benchmarks.reporting.tables import NONE, difference_of, written
from hist2st_pyg.figures import save
from hist2st_pyg.metrics.ceiling import COVERS
from hist2st_pyg.models.markdown import wrapped
from hist2st_pyg.utils.files import write_text

HERE = Path(__file__).parent
REFERENCES = ("ridge_neighbors", "kernel_ridge", "kernel_ridge_within_sections")
MODEL, NETWORKS = "small", "networks"
"""The preset, and its networks without the kernel stream."""
SPLITS = {
    "a": "a: C2, C3 → C4",
    "b": "b: C2, C3, C4 → B4",
    "c2": "c2: mob1 → mob2",
    "c3": "c3: mob1 → mob3",
    "d": "d: colon stripes",
}
VALIDATION = {
    "C2_C3": "C2 → C3",
    "C3_C2": "C3 → C2",
    "stripes_a": "mob1 stripes",
    "stripes_b": "mob1 other stripes",
    "stripes": "colon stripes",
}
WHOLE = ("test", "paper", "others")
"""The grids whose models are compared; the other models on the same splits are ablations of the networks."""


def by_split(cells: Sequence[Cell], splits: dict[str, str]) -> dict[str, Group]:
    """Group the results by split, in the order of ``splits``, by title."""
    groups = {}
    for split, title in splits.items():
        chosen = tuple(cell for cell in cells if cell["fold"] == split)
        if chosen:
            groups[title] = Group(chosen[0]["dataset"], chosen[0]["split"], chosen, ())
    return groups


def parted(cells: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Separate the results of complete models from those of ablations."""
    whole = {cell["model"] for cell in cells if cell["grid"] in WHOLE}
    return [c for c in cells if c["model"] in whole], [c for c in cells if c["model"] not in whole]


def models(groups: dict[str, Group]) -> list[str]:
    """List all models, sorted by their mean over the common splits."""
    names = {name for group in groups.values() for name in group.models()}
    common = [group for group in groups.values() if names <= set(group.models())] or list(groups.values())

    def mean(name: str) -> float:
        known = [share for group in common if (share := group.mean(name, metric("share_of_ceiling")))]
        return float(np.mean(known)) if known else 0.0

    return sorted(names, key=lambda name: (-mean(name), name))


def table(groups: dict[str, Group]) -> str:
    """Format the PCC by model and split, ± deviation over seeds, with the share of the ceiling and notes."""
    rows = [["model", *groups]]
    for name in models(groups):
        rows.append([f"`{name}`", *(_score(group, name) for group in groups.values())])
    for reference in REFERENCES if any(group.of(MODEL) for group in groups.values()) else ():
        rows.append(
            [f"`{MODEL}` − `{reference}` [95 %]", *(_difference(group, reference) for group in groups.values())]
        )
    rows.append(["attainable", *(f"{ceiling(group):.3f}" for group in groups.values())])
    return "\n".join([*table_lines(rows), "", *map(wrapped, notes(groups))])


def summary(groups: dict[str, Group]) -> str:
    """Format one row per split: preset, regressions on patch statistics, and the difference from the best of these."""
    heads = ["train → test", "test patient", f"`{MODEL}`", *(f"`{name}`" for name in REFERENCES)]
    rows = [[*heads, f"`{MODEL}` − the best of these [95 %]", "attainable"]]
    for title, group in groups.items():
        best = max(REFERENCES, key=lambda name: group.mean(name, metric("pcc_mean")) or 0.0)
        scores = (_score(group, name, share=False) for name in (MODEL, *REFERENCES))
        patient = "also trains" if leaks(group) else "never seen"
        rows.append([title, patient, *scores, _difference(group, best), f"{ceiling(group):.3f}"])
    return "\n".join(table_lines(rows))


def changes(cells: Sequence[Cell]) -> str:
    """Format each ablation's PCC minus the networks', bold if outside the range of the networks' seeds."""
    groups = by_split(cells, SPLITS)
    names = {cell["model"] for cell in parted(cells)[1] if cell["fold"] in SPLITS}
    rows = [
        ["changed", *groups],
        *([f"`{name}`", *(_change(g, name) for g in groups.values())] for name in sorted(names)),
    ]
    seeds = _and(str(n) for n in sorted({len(group.of(NETWORKS)) for group in groups.values()}))
    text = f"PCC less that of `{NETWORKS}`; bold where it is outside the range of its {seeds} seeds. One seed each."
    return "\n".join([*table_lines(rows), "", text])


def _change(group: Group, name: str) -> str:
    def pcc(model: str) -> list[float]:
        return [cell["metrics"]["pcc_mean"] for cell in group.of(model)]

    changed, networks = pcc(name), pcc(NETWORKS)
    if not changed or not networks:
        return NONE
    found = float(np.mean(changed))
    text = f"{found - np.mean(networks):+.3f}".replace("-", "−")
    return text if min(networks) <= found <= max(networks) else f"**{text}**"


TABLES: dict[str, Callable[[Sequence[Cell]], str]] = {
    "<!-- table: benchmarks.accuracy -->": lambda cells: table(by_split(parted(cells)[0], SPLITS)),
    "<!-- table: benchmarks.accuracy, summary -->": lambda cells: summary(by_split(parted(cells)[0], SPLITS)),
    "<!-- table: benchmarks.accuracy, ablations -->": changes,
    "<!-- table: benchmarks.accuracy, validation -->": lambda cells: table(by_split(cells, VALIDATION)),
}
"""Each table's first comment line, and the function that formats it."""


def notes(groups: dict[str, Group]) -> list[str]:
    """Format the notes below the table: ceiling, training patients and code."""
    trains: dict[bool, list[str]] = {True: [], False: []}
    for title, group in groups.items():
        trains[bool(leaks(group))].append(title.partition(":")[0])
    said = {
        True: "the test patient also trains, by another section or part of one",
        False: "the test patient was never seen",
    }
    found = [f"{_and(splits)}: {said[known]}." for known, splits in trains.items() if splits]
    codes = sorted({str(cell["versions"].get("code", "unknown")) for group in groups.values() for cell in group.cells})
    return [COVERS, *found, f"Code: {', '.join(codes)}."]


def _and(words: Iterable[str]) -> str:
    *others, last = words
    return " and ".join([*([", ".join(others)] if others else []), last])


def _score(group: Group, name: str, share: bool = True) -> str:
    value = metric("pcc_mean")
    mean = group.mean(name, value)
    of_ceiling = f" ({mean / ceiling(group):.0%})".replace("%", " %") if share and mean is not None else ""
    return written(mean, group.deviation(name, value), "{:.3f}", of_ceiling).text


def _difference(group: Group, reference: str) -> str:
    comparison = compared(group, reference)
    return difference_of(comparison, MODEL).text if comparison is not None else NONE


def with_tables(text: str, cells: Sequence[Cell]) -> str:
    """Replace the tables between their comment lines in a text.

    Raises:
        ValueError: If the text has no such lines.
    """
    wanted = {start: make for start, make in TABLES.items() if start in text}
    if not wanted:
        raise ValueError(f"The file needs the line {next(iter(TABLES))!r}, and an end line after the table.")
    for start, make in wanted.items():
        text = with_table(text, make(cells), start)
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=HERE / "results" / "accuracy")
    parser.add_argument("--into", type=Path, nargs="*", default=[], help="files with the table's two comment lines")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "report" / "accuracy", help="folder of the picture")
    arguments = parser.parse_args(argv)
    try:
        cells = read_cells(arguments.results)
        groups = by_split(parted(cells)[0], SPLITS)
        if not groups:
            raise ValueError(
                f"{arguments.results} has no result of the splits {', '.join(SPLITS)}; run benchmarks.grid first."
            )
        for path in arguments.into:
            write_text(path, with_tables(path.read_text(encoding="utf-8"), cells))
        save(share_of_ceiling(groups), arguments.output / "share_of_ceiling.png")
        if (timed := time_to_accuracy(groups)) is not None:
            save(timed, arguments.output / "time_to_accuracy.png")
    except (ValueError, OSError) as error:
        print(f"benchmarks.accuracy: {error}", file=sys.stderr)
        return 2
    print(table(groups))
    return 0


if __name__ == "__main__":
    sys.exit(main())
