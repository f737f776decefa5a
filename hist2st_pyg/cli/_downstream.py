"""Common parts of the commands that read a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from jsonargparse import ArgumentParser, Namespace
    from pandas import DataFrame


def add_measured(parser: ArgumentParser) -> None:
    """Add the options of the measured section."""
    parser.add_argument(
        "--measured", type=str | None, default=None, help="The measured section: .h5ad of raw counts, or its name."
    )
    parser.add_argument("--data.name", type=str | None, default=None, help="The data set of the measured section.")
    parser.add_argument("--data.root", type=str | None, default=None, help="Its folder.")
    parser.add_argument("--data.options", type=dict[str, Any], default={}, help="Further options of its reader.")


def add_outputs(parser: ArgumentParser, output: str) -> None:
    """Add ``--output``, with the help text ``output``, and ``--figures``."""
    parser.add_argument("--output", "-o", type=str | None, default=None, help=output)
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")


def prediction_of(parsed: Namespace) -> AnnData:
    """Check that the outputs can be written, and read the prediction."""
    from hist2st_pyg.analysis.predictions import read_prediction
    from hist2st_pyg.utils.writable import check_file, check_folder

    check_file(parsed.output)
    check_folder(parsed.figures)
    return read_prediction(parsed.prediction)


def write_tables(parsed: Namespace, tables: Mapping[str, DataFrame]) -> None:
    """Write tables if ``--output`` is set, each with its key before the suffix, and print their paths."""
    from pathlib import Path

    from hist2st_pyg.utils.csv_cells import write_csv

    if parsed.output is None:
        return
    output = Path(parsed.output)
    for end, table in tables.items():
        path = output.with_name(f"{output.stem}{end}{output.suffix}")
        write_csv(table, path)
        print(f"Table: {path}")


def draw(parsed: Namespace, pictures: Mapping[str, Callable[[], Path | Sequence[Path]]]) -> None:
    """Draw pictures, by their names, if ``--figures`` is set, and print their paths."""
    from hist2st_pyg.figures.canvas import draw_each

    for picture in draw_each(parsed.figures, pictures):
        print(f"Picture: {picture}")
