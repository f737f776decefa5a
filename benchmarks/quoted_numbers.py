"""Update the numbers in the pages' prose from the result files.

    python -m benchmarks.quoted_numbers            # rewrites the numbers of README.md, docs/guide.md, benchmarks/*.md
    python -m benchmarks.quoted_numbers --check    # changes nothing; exit status 1 if a number differs from its result

A comment after a number, invisible on the rendered page, names its source:

    0.163<!-- search/her2st_rates/*/*/hist2st_lr_0.001/*.json val_pcc -->

The source is a pattern of files below ``benchmarks/results`` and a key in them. Its value is the mean over each
folder's files, then over the folders. A leading ``min`` or ``max`` selects the smallest or largest mean of a folder
instead, `` - `` between two sources computes their difference, and `` / 1000`` at the end divides. Before a ``%`` the
number is a percentage. A page's log of single experiments without result files is between ``<!-- log -->`` and
``<!-- end of log -->``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hist2st_pyg.utils.files import write_text

HERE = Path(__file__).parent
PAGES = (HERE.parent / "README.md", HERE.parent / "docs" / "guide.md", *sorted(HERE.glob("*.md")))
OVER_FOLDERS: dict[str, Any] = {"mean": np.mean, "min": np.min, "max": np.max}
_PRINTED = re.compile(r"(?P<number>[+−]?\d[\d,]*(?:\.\d+)?)(?P<percent> ?%)?<!-- (?P<source>[^<>]*?\.json [^<>]*?) -->")
_APART = re.compile(
    r"<!-- log -->.*?<!-- end of log -->|<!-- table:.*?<!-- end of table -->|```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL
)


def value(source: str, results: Path) -> float:
    """Compute the number of a source.

    Args:
        source: For example ``max her2st/*/B/hist2st_*/*.json metrics.pcc_mean``; see the module.
        results: The folder of the results.

    Raises:
        ValueError: If the source has another form, or no file has it.
    """
    source, _, divisor = source.partition(" / ")
    numbers = [_mean(part.split(), results, source) for part in re.split(r" -\s", source)]
    return (numbers[0] - sum(numbers[1:])) / float(divisor or 1)


def _mean(words: list[str], results: Path, source: str) -> float:
    how = words.pop(0) if words and words[0] in OVER_FOLDERS else "mean"
    if len(words) != 2:
        raise ValueError(f"{source!r} must have the form '[mean|min|max] FILES KEY'.")
    folders: dict[Path, list[float]] = defaultdict(list)
    for path in sorted(results.glob(words[0])):
        folders[path.parent].append(_at(path, words[1]))
    if not folders:
        raise ValueError(f"No result file in {results} matches {words[0]!r}.")
    return float(OVER_FOLDERS[how]([np.mean(numbers) for numbers in folders.values()]))


def _at(path: Path, key: str) -> float:
    found: Any = json.loads(path.read_text(encoding="utf-8"))
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, (int, float)):
        raise ValueError(f"{path} has no number under {key!r}.")
    return float(found)


def with_numbers(text: str, results: Path = HERE / "results") -> str:
    """Rewrite each number with a source in a page, with the same decimals and form as before."""

    def write(match: re.Match[str]) -> str:
        number, percent = match["number"], match["percent"] or ""
        found = value(match["source"], results) * (100 if percent else 1)
        decimals = len(number.partition(".")[2])
        sign = "+" if number[0] in "+−" else "-"
        written = f"{found:{sign},.{decimals}f}" if "," in number else f"{found:{sign}.{decimals}f}"
        return f"{written.replace('-', '−')}{percent}<!-- {match['source']} -->"

    return _PRINTED.sub(write, text)


def without_source(text: str) -> list[str]:
    """List the numbers with two or more decimals and without a source in a page, with the text before them."""
    prose = _PRINTED.sub("", _APART.sub("", text))
    found = re.finditer(r"(?<!Python )(?<![\d.])\d+\.\d\d+(?!\d|\.\d)", prose)
    return [prose[max(0, match.start() - 30) : match.end()].rpartition("\n")[2].strip() for match in found]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES, help="the pages; default: all that quote")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a number differs")
    arguments = parser.parse_args(argv)
    differ = False
    try:
        for page in arguments.pages:
            text = page.read_text(encoding="utf-8")
            written = with_numbers(text, arguments.results)
            if written != text:
                differ = True
                print(f"{page}: {'numbers differ from the results' if arguments.check else 'updated'}")
                if not arguments.check:
                    write_text(page, written)
    except (ValueError, OSError) as error:
        print(f"benchmarks.quoted_numbers: {error}", file=sys.stderr)
        return 2
    return int(differ and arguments.check)


if __name__ == "__main__":
    sys.exit(main())
