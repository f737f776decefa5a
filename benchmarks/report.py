"""Report a benchmark from its result files: tables, statistics, pictures, an HTML page, short tables in a page.

    python -m benchmarks.report                          # benchmarks/results -> benchmarks/report
    python -m benchmarks.report RESULTS -o REPORT --reference ridge_neighbors --readme benchmarks/README.md

It neither trains nor predicts. It writes ``report.md``, ``report.html``, which needs no network (``#sort=rmse`` in its
URL sorts the tables), their pictures ``figures/*.png``, and ``genes/*.csv``: each gene's PCC in every model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reporting.cells import grouped, read_cells, read_failures
from benchmarks.reporting.comparison import compared, gene_table
from benchmarks.reporting.markdown import REFERENCE, readme_table, report_markdown, with_table
from benchmarks.reporting.page import report_page
from benchmarks.reporting.pictures import draw, slug
from hist2st_pyg.utils.files import write_text

HERE = Path(__file__).parent

__all__ = ["main", "read_cells", "readme_table", "report"]


def report(results: str | Path, output: str | Path, reference: str = REFERENCE) -> Path:
    """Write the report of a folder of results.

    Args:
        results: Folder of ``<dataset>/<split>/<fold>/<model>/<seed>.json``, and ``<seed>.failed.txt`` of failed cells.
        output: The folder of the report.
        reference: The reference model of the comparisons.

    Returns:
        The HTML page.

    Raises:
        ValueError: If the folder has no result or an invalid one, or no group has the reference.
    """
    output = Path(output)
    groups = grouped(read_cells(results), read_failures(results))
    known = {model for group in groups for model in group.models()}
    if reference not in known:
        raise ValueError(f"No result has the reference {reference!r}. Choose one of: {', '.join(sorted(known))}.")
    comparisons = [compared(group, reference) for group in groups]
    figures = output / "figures"
    pictures = [
        [(caption, f"{figures.name}/{name}") for caption, name in draw(group, comparison, figures)]
        for group, comparison in zip(groups, comparisons, strict=True)
    ]
    genes = [f"genes/{slug(group.dataset)}_{slug(group.split)}.csv" for group in groups]
    for group, path in zip(groups, genes, strict=True):
        write_text(output / path, gene_table(group).to_csv(float_format="%.4f"))
    write_text(output / "report.md", report_markdown(groups, comparisons, pictures, genes))
    write_text(output / "report.html", report_page(groups, comparisons, pictures, genes))
    return output / "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "report", help="folder of the report")
    parser.add_argument("--reference", default=REFERENCE, help="the reference model of the comparisons")
    parser.add_argument("--readme", type=Path, help="also write the short tables into this page")
    arguments = parser.parse_args(argv)
    try:
        page = report(arguments.results, arguments.output, arguments.reference)
        if arguments.readme is not None:
            table = readme_table(read_cells(arguments.results), arguments.reference)
            write_text(arguments.readme, with_table(arguments.readme.read_text(encoding="utf-8"), table))
    except (ValueError, OSError) as error:
        print(f"benchmarks.report: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
