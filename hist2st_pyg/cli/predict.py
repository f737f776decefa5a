"""Predict expression from one or many images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hist2st_pyg.cli._downstream import draw
from hist2st_pyg.cli._help import MODEL

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = (
    "hist2st predict runs/start slide.svs -o slide.h5ad",
    "hist2st predict runs/start slides/*.svs -o predictions",
    "hist2st predict her2st-small slide.svs -o slide.h5ad",
    "hist2st predict owner/model slide.svs -o slide.h5ad",
)
OPTIONS: dict[str, tuple[type, str]] = {
    "pitch": (float, "Distance of the grid's spots in pixels."),
    "pitch_um": (float, "The same in µm."),
    "um_per_pixel": (float, "Resolution of the images, if their files do not state it."),
    "block": (int, "Largest number of spots predicted at a time."),
}
"""Options passed to ``predict`` if set."""

COHORT: dict[str, tuple[type, Any, str]] = {
    "format": (
        str,
        "h5ad",
        "h5ad, zarr (SpatialData stores), csv (tables without layers and notes) or geojson (for QuPath).",
    ),
    "executor": (str, "local", "local (processes of this machine) or ray (a Ray cluster)."),
    "jobs": (int, 1, "Number of slides in parallel; they share the machine's cores."),
    "gpus": (float, 0.0, "Number of GPUs per slide, with ray."),
}
"""Options of a folder of predictions, with their defaults."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("model", type=str, help=MODEL)
    parser.add_argument("images", type=str, nargs="+", help="H&E images (JPEG, PNG, TIFF) or slides (SVS, NDPI, ...).")
    parser.add_argument(
        "--output",
        "-o",
        type=str,
        required=True,
        help="The .h5ad file, .zarr store, .csv table or .geojson for QuPath (both expression only) of one image; or a "
        "folder for many, where finished images are skipped.",
    )
    parser.add_argument(
        "--spots",
        type=str | None,
        default=None,
        help="her2st selection, Visium tissue_positions, CSV of x,y, or .h5ad; for many images a folder of these.",
    )
    for name, (kind, text) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind | None, default=None, help=text)
    parser.add_argument(
        "--figures", type=str | None, default=None, help="Folder for pictures; default for many images: OUTPUT/figures."
    )
    parser.add_argument("--genes", type=list[str] | None, default=None, help="Genes to draw.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--overwrite", action="store_true", help="Replace outputs that were made with other options.")
    for name, (kind, default, text) in COHORT.items():
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"For a folder: {text}")
    return run


def run(parsed: Namespace) -> int:
    """Predict one image into a file, or images into a folder; return 1 if one of them failed."""
    suffix = _format_of(parsed.output)
    options = {name: parsed[name] for name in OPTIONS if parsed[name] is not None}
    options["device"] = parsed.device
    if suffix is None:
        return _predict_cohort(parsed, options)
    if len(parsed.images) > 1:
        raise ValueError(f"The output of {len(parsed.images)} images must be a folder, got the file {parsed.output}.")
    if given := [name for name, (_, default, _) in COHORT.items() if parsed[name] != default]:
        raise ValueError(f"--{given[0]} needs a folder as output (-o FOLDER), got the file {parsed.output}.")
    _predict_image(parsed, options, suffix)
    return 0


def _format_of(output: str) -> str | None:
    """Return the key of ``OUTPUTS`` that a file's name ends with; None for a folder."""
    from pathlib import Path

    from hist2st_pyg.inference.outputs import OUTPUTS

    if not output:
        raise ValueError("--output is empty; it must be a file or a folder.")
    suffix = Path(output).suffix
    if suffix.removeprefix(".") in OUTPUTS:
        return suffix.removeprefix(".")
    if suffix and not Path(output).is_dir() and not output.endswith("/"):
        formats = ", ".join(f".{format}" for format in OUTPUTS)
        raise ValueError(
            f"{output}: {suffix} is not a format of predictions; a file must end in one of {formats}, a folder with a "
            "dot in its name must end in '/'."
        )
    return None


def _predict_image(parsed: Namespace, options: dict[str, Any], suffix: str) -> None:
    """Check the options, predict one image, write the output, draw the pictures."""
    from functools import partial
    from pathlib import Path

    from hist2st_pyg import inference
    from hist2st_pyg.analysis.maps import draw_prediction
    from hist2st_pyg.inference.cohort import check_genes_drawn
    from hist2st_pyg.inference.outputs import OUTPUTS, check_output
    from hist2st_pyg.models import load_model
    from hist2st_pyg.models.hub import locate_model
    from hist2st_pyg.utils.writable import check_folder

    model = load_model(locate_model(parsed.model))
    check_genes_drawn(model, parsed.genes)
    check_output(parsed.output, suffix, inference.require_preprocessing(model).genes, parsed.overwrite)
    check_folder(parsed.figures)
    adata = inference.predict(model, parsed.images[0], parsed.spots, **options)
    if suffix == "zarr":
        # In an existing store, for example that of the section, a table is added.
        inference.write_spatialdata(adata, parsed.output, overwrite=parsed.overwrite)
    else:
        OUTPUTS[suffix].write(adata, Path(parsed.output))
    print(f"{adata.n_obs} spots x {adata.n_vars} genes in {parsed.output}.")
    picture = partial(draw_prediction, adata, parsed.figures, parsed.genes)
    draw(parsed, {f"The prediction of {parsed.images[0]}": picture})


def _predict_cohort(parsed: Namespace, options: dict[str, Any]) -> int:
    """Predict images into a folder, and print the outcome of each."""
    from hist2st_pyg.analysis.maps import draw_prediction
    from hist2st_pyg.inference import predict_cohort
    from hist2st_pyg.models.hub import locate_model

    result = predict_cohort(
        locate_model(parsed.model),
        parsed.images,
        parsed.output,
        spots=parsed.spots,
        draw=draw_prediction,
        figures=parsed.figures,
        genes=parsed.genes,
        overwrite=parsed.overwrite,
        **{name: parsed[name] for name in COHORT},
        **options,
    )
    print(result.table())
    failed = len(result.of("failed"))
    if failed:
        print(f"The tracebacks are in {parsed.output}/*.failed.txt; run the command again to retry the failed slides.")
    return int(failed > 0)
