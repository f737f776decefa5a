"""Download a public data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import Run


EXAMPLES = ("hist2st download her2st --help", "hist2st download her2st --root her2st --sections '[B1]'")


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.datasets import downloadable, downloader

    parser.add_argument("dataset", choices=downloadable(), help="The data set.")
    if not arguments or arguments[0].startswith("-"):  # --help, or an error that the parser reports
        return print
    download = downloader(arguments[0])
    parser.add_function_arguments(download, skip={"progress"})
    return lambda parsed: download(**{key: value for key, value in vars(parsed).items() if key != "dataset"})
