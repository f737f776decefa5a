"""Map a model's confidence in its prediction; compare with counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hist2st_pyg.cli._downstream import add_measured, add_outputs, draw, prediction_of, write_tables

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st confidence section.h5ad --figures figures",)


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("prediction", type=str, help="The .h5ad of a prediction by a model with a likelihood.")
    add_measured(parser)
    add_outputs(parser, "The .csv of the spots.")
    return run


def run(parsed: Namespace) -> None:
    """Compute each spot's confidence, check it against counts, write the table, draw the maps."""
    import json
    from functools import partial

    from hist2st_pyg.analysis.confidence import check_confidence, draw_confidence, spot_confidence
    from hist2st_pyg.analysis.predictions import read_measured

    adata = prediction_of(parsed)
    table = spot_confidence(adata)
    print(table.describe().loc[["min", "50%", "max"]].round(3).to_string())
    if parsed.measured is not None:
        print(json.dumps(check_confidence(adata, read_measured(parsed.measured, **vars(parsed.data))), indent=2))
    write_tables(parsed, {"": table.rename_axis("spot")})
    draw(parsed, {"The confidence": partial(draw_confidence, adata, parsed.figures, table)})
