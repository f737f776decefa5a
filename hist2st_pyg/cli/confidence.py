"""Map a model's confidence in its prediction; compare with counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run


EXAMPLES = ("hist2st confidence section.h5ad --figures figures",)


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("prediction", type=str, help="The .h5ad of a prediction by a model with a likelihood.")
    parser.add_argument(
        "--measured", type=str | None, default=None, help="The measured section: .h5ad of raw counts, or its name."
    )
    parser.add_argument("--data.name", type=str | None, default=None, help="The data set of the measured section.")
    parser.add_argument("--data.root", type=str | None, default=None, help="Its folder.")
    parser.add_argument("--data.options", type=dict[str, Any], default={}, help="Further options of its reader.")
    parser.add_argument("--output", "-o", type=str | None, default=None, help="The .csv of the spots.")
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")
    return run


def run(parsed: Namespace) -> None:
    """Compute each spot's confidence, check it against counts, write the table, draw the maps."""
    import json
    from functools import partial

    from hist2st_pyg.analysis.confidence import check_confidence, draw_confidence, spot_confidence
    from hist2st_pyg.analysis.predictions import read_measured, read_prediction
    from hist2st_pyg.figures.canvas import draw_each
    from hist2st_pyg.utils.csv_cells import write_csv
    from hist2st_pyg.utils.writable import check_file, check_folder

    check_file(parsed.output)
    check_folder(parsed.figures)
    adata = read_prediction(parsed.prediction)
    table = spot_confidence(adata)
    print(table.describe().loc[["min", "50%", "max"]].round(3).to_string())
    if parsed.measured is not None:
        print(json.dumps(check_confidence(adata, read_measured(parsed.measured, **vars(parsed.data))), indent=2))
    if parsed.output is not None:
        write_csv(table, parsed.output, index_label="spot")
        print(f"Table: {parsed.output}")
    draw = partial(draw_confidence, adata, parsed.figures, table)
    for picture in draw_each(parsed.figures, {"The confidence": draw}):
        print(f"Picture: {picture}")
