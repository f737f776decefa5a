"""Format the report and its short tables in Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from urllib.parse import quote

from benchmarks.reporting.cells import TASKS, Cell, Failure, Group, grouped
from benchmarks.reporting.comparison import Comparison, compared
from benchmarks.reporting.facts import describe, facts, leaks, title, verdict, warnings
from benchmarks.reporting.methods import INTRODUCTION, methods_of
from benchmarks.reporting.tables import (
    Row,
    Table,
    fold_table,
    footnotes,
    main_table,
    more_table,
    readme_rows,
    statistics_table,
)
from hist2st_pyg.models.markdown import wrapped

REFERENCE = "ridge_neighbors"
"""The best simple baseline: ridge regression on color and texture of a spot and its neighbors."""
NO_COMPARISON = "The reference model has no result here, or no other model has, so nothing is compared."
START, END = "<!-- table: benchmarks.report -->", "<!-- end of table -->"


def report_markdown(
    groups: Sequence[Group],
    comparisons: Sequence[Comparison | None],
    pictures: Sequence[Sequence[tuple[str, str]]],
    genes: Sequence[str],
) -> str:
    """Format the complete report.

    Args:
        groups: The groups.
        comparisons: The comparison of each group.
        pictures: The pictures of each group: caption, and path relative to the report.
        genes: The table of genes of each group, a path relative to the report.
    """
    parts = [
        "# Benchmark report",
        "Made by `python -m benchmarks.report` from result files alone. All seeds are reported; epoch and variant are "
        "chosen by validation, and the test sections are read once. `report.html` beside this page sorts the "
        "tables.",
    ]
    for group, comparison, drawn, table in zip(groups, comparisons, pictures, genes, strict=True):
        parts += _group(group, comparison, drawn, table)
    parts += _methods(groups)
    return wrapped("\n\n".join(parts)) + "\n"


def _methods(groups: Sequence[Group]) -> list[str]:
    """Format the table of published methods, whose cells are already Markdown."""
    if not (methods := methods_of(groups)):
        return []
    rows = [f"| `{method.key}` | {method.published} | {method.changed} |" for method in methods]
    return [
        "## Published methods",
        INTRODUCTION,
        "\n".join(["| method | as published | changed |", "|---|---|---|", *rows]),
    ]


def _group(group: Group, comparison: Comparison | None, pictures: Sequence[tuple[str, str]], genes: str) -> list[str]:
    parts = [f"## {_escaped(title(group))}", _escaped(describe(group))]
    parts += [f"> **Note.** {_escaped(warning)}" for warning in warnings(group)]
    parts.append("\n".join(f"- {word}: {_escaped(text)}" for word, text in facts(group)))
    if group.cells:
        tables = [("Scores", main_table(group)), ("Folds", fold_table(group)), ("More metrics", more_table(group))]
        for heading, table in tables:
            if table is not None:
                parts += [f"### {heading}", *_table(table, group)]
        if notes := footnotes(group):
            parts.append(
                "\n".join(f"{i}. Encoder weights: {_escaped(note)}" for i, (note, _) in enumerate(notes, start=1))
            )
        parts += _comparison(group, comparison)
        parts.append(f"The PCC of each gene in every model, with the attainable one: [{genes}]({genes}).")
    parts += _failures(group.failures)
    if pictures:
        parts += [
            "### Pictures",
            *(f"![{_escaped(caption)}]({quote(path)})\n\n{_escaped(caption)}" for caption, path in pictures),
        ]
    return [part for part in parts if part]


def _comparison(group: Group, comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["### Differences", NO_COMPARISON]
    table = statistics_table(comparison)
    heading = f"### Differences from `{_escaped(comparison.reference)}`"
    return [heading, _escaped(verdict(group, comparison)), _escaped(table.caption), _rows(table, table.rows)]


def _failures(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return []
    lines = [f"- `{_escaped(f'{f.fold}/{f.model}/{f.seed}')}`: {_escaped(f.message)}" for f in failures]
    return ["### Failed cells", "\n".join(lines)]


def _table(table: Table, group: Group) -> list[str]:
    marks = {model: str(i) for i, (_, models) in enumerate(footnotes(group), start=1) for model in models}
    parts = [_escaped(table.caption), _rows(table, table.predictions, marks)]
    for task in ("interpolation", "diagnostic"):
        if rows := [row for row in table.others if row.task == task]:
            parts += [f"*Not comparable with the rows above* ({task}). {TASKS[task]}", _rows(table, rows, marks)]
    return parts


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a table's lines: the first row is the head, columns after the first are aligned to the right."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]]


def _rows(table: Table, rows: Sequence[Row], marks: dict[str, str] | None = None) -> str:
    lines = [[_escaped(head) for head in ("model", *(column.head for column in table.columns))]]
    for row in rows:
        mark = f" <sup>{marks[row.model]}</sup>" if marks and row.model in marks else ""
        lines.append([f"`{_escaped(row.model)}`{mark}", *(_escaped(entry.text) for entry in row.entries)])
    return "\n".join(table_lines(lines))


def _escaped(text: str) -> str:
    """Escape HTML and table borders in a text, and remove its line breaks."""
    return " ".join(html.escape(text, quote=False).replace("|", "\\|").splitlines())


def readme_table(cells: Sequence[Cell], reference: str = REFERENCE) -> str:
    """Format the short tables of ``benchmarks/README.md``, one for each data set and split.

    Args:
        cells: The results.
        reference: The reference model of the comparisons.
    """
    parts = []
    for group in grouped(cells):
        table = readme_rows(group, compared(group, reference))
        leak = " **Leaks patients.**" if leaks(group) else ""
        parts += [
            f"**{_escaped(title(group))}.** {_escaped(describe(group))}{leak} {_escaped(table.caption)}",
            _rows(table, table.rows),
        ]
    return wrapped("\n\n".join(parts))


def with_table(text: str, table: str, start: str = START) -> str:
    """Replace the table between the two comment lines of a page.

    Args:
        text: The page.
        table: The table.
        start: The first of the two lines, which names the command that writes the table.

    Raises:
        ValueError: If the comment lines do not occur once each and in order.
    """
    before, found, rest = text.partition(start)
    _, end, after = rest.partition(END)
    if not found or not end or start in after:
        raise ValueError(f"The page needs the lines {start!r} and {END!r} once each, with the table between them.")
    return f"{before}{start}\n{table}\n{END}{after}"
