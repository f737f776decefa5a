"""Explain predictions by pixels and by neighboring spots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hist2st_pyg.cli._help import MODEL

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st explain runs/start slide.svs --gene ERBB2 --figures figures",)
OPTIONS: dict[str, tuple[type, str]] = {
    "top": (int, "Without --spot: number of spots per gene with the highest prediction; default 3."),
    "pixels": (int, "Number of patches to explain: 1 (default) is the spot's, 2 adds a neighbor's."),
    "steps": (int, "Steps of the integrated gradients."),
    "pitch": (float, "Distance of the grid's spots in pixels."),
    "um_per_pixel": (float, "Resolution of the image, if its file does not state it."),
}
"""Options passed to ``explain_image`` if set."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("model", type=str, help=MODEL)
    parser.add_argument("image", type=str, help="The H&E image (JPEG, PNG, TIFF) or slide (SVS, NDPI, ...).")
    parser.add_argument("--gene", type=str, action="append", required=True, help="A gene; repeat for more.")
    parser.add_argument("--figures", type=str, required=True, help="Folder of the pictures, one per spot and gene.")
    parser.add_argument(
        "--spots",
        type=str | None,
        default=None,
        help="her2st selection, Visium tissue_positions, CSV of x,y, or .h5ad; default: a grid on the tissue.",
    )
    parser.add_argument("--spot", type=str, action="append", help="The name of a spot to explain; repeat for more.")
    parser.add_argument("--output", "-o", type=str | None, default=None, help="The .json file of the numbers.")
    for name, (kind, text) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=text)
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return run


def run(parsed: Namespace) -> None:
    """Explain spots of one image, write the numbers, draw the pictures."""
    from hist2st_pyg.explain import explain_image
    from hist2st_pyg.models import load_model
    from hist2st_pyg.models.hub import locate_model
    from hist2st_pyg.utils.files import write_json
    from hist2st_pyg.utils.writable import check_file, check_folder

    check_file(parsed.output)
    check_folder(parsed.figures)
    options: dict[str, Any] = {name: parsed[name] for name in OPTIONS if parsed[name] is not None}
    explained = explain_image(
        load_model(locate_model(parsed.model)),
        parsed.image,
        parsed.gene,
        parsed.spots,
        parsed.spot,
        device=parsed.device,
        **options,
    )
    if parsed.output is not None:
        write_json(parsed.output, explained.numbers())
        print(f"Numbers: {parsed.output}")
    for explanation, path in zip(explained.explanations, explained.draw(parsed.figures), strict=True):
        picture = "not drawn" if path is None else path
        print(f"{explanation.gene} at {explanation.name}: predicted {explanation.predicted:.2f}. Picture: {picture}")
