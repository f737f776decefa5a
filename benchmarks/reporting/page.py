"""Format the report as an HTML page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.reporting.cells import TASKS, Group
from benchmarks.reporting.comparison import Comparison
from benchmarks.reporting.facts import describe, facts, title, verdict, warnings
from benchmarks.reporting.markdown import NO_COMPARISON
from benchmarks.reporting.methods import INTRODUCTION, methods_of
from benchmarks.reporting.pictures import slug
from benchmarks.reporting.tables import Entry, Table, fold_table, footnotes, main_table, more_table, statistics_table
from hist2st_pyg.metrics.ceiling import COVERS

HERE = Path(__file__).parent


def report_page(
    groups: Sequence[Group],
    comparisons: Sequence[Comparison | None],
    pictures: Sequence[Sequence[tuple[str, str]]],
    genes: Sequence[str],
) -> str:
    """Format the complete page; style and script are inline, and its security policy allows only pictures to load.

    Args:
        groups: The groups.
        comparisons: The comparison of each group.
        pictures: The pictures of each group: caption, and path relative to the page.
        genes: The table of genes of each group, a path relative to the page.
    """
    contexts = map(_context, groups, comparisons, pictures, genes)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["interval"] = interval_svg
    return environment.get_template("page.html").render(
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        tasks=TASKS,
        no_comparison=NO_COMPARISON,
        covers=COVERS,
        groups=list(contexts),
        methods=methods_of(groups),
        introduction=INTRODUCTION,
    )


def _context(
    group: Group, comparison: Comparison | None, pictures: Sequence[tuple[str, str]], genes: str
) -> dict[str, object]:
    notes = footnotes(group)
    return {
        "id": f"{slug(group.dataset)}-{slug(group.split)}",
        "title": title(group),
        "describe": describe(group),
        "warnings": warnings(group),
        "facts": facts(group),
        "verdict": verdict(group, comparison),
        "main": main_table(group),
        "folds": fold_table(group),
        "more": more_table(group),
        "statistics": statistics_table(comparison) if comparison else None,
        "reference": comparison.reference if comparison else None,
        "notes": [note for note, _ in notes],
        "marks": {model: i for i, (_, models) in enumerate(notes, start=1) for model in models},
        "failures": group.failures,
        "pictures": pictures,
        "genes": genes,
    }


def interval_svg(entry: Entry, table: Table) -> Markup:
    """Draw an interval as a line with a dot, on a common axis for the column; the vertical line is 0."""
    if entry.interval is None:
        return Markup("")
    ends = [end for row in table.rows if (interval := row.entries[0].interval) for end in (interval[0], interval[2])]
    least, most = min(0.0, *ends), max(0.0, *ends)
    low, middle, high, zero = (8 + 144 * (x - least) / ((most - least) or 1) for x in (*entry.interval, 0.0))
    return Markup(
        '<svg class="interval" viewBox="0 0 160 20" width="160" height="20" aria-hidden="true">'
        f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="20"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="10" y2="10"/><circle cx="{middle:.1f}" cy="10" r="3.5"/></svg>'
    )
