"""Predict expression from an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """The arguments of the command."""
    parser.add_argument("model", type=str, help="A run folder, a saved model's folder, or a checkpoint.")
    parser.add_argument("image", type=str, help="The H&E image (JPEG, PNG, TIFF).")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .h5ad file to write.")
    parser.add_argument(
        "--spots",
        type=str | None,
        default=None,
        help="her2st selection, Visium tissue_positions, or CSV of x,y.",
    )
    parser.add_argument("--pitch", type=float | None, default=None, help="Distance of the grid's spots in pixels.")
    parser.add_argument("--um_per_pixel", type=float | None, default=None, help="Resolution of the image.")
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")
    parser.add_argument("--genes", type=list[str] | None, default=None, help="Genes to draw.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return run


def run(parsed: Namespace) -> None:
    """Predict one image, write the ``.h5ad``, draw the pictures."""
    from hist2st_pyg import inference
    from hist2st_pyg.models import load_model

    adata = inference.predict(
        load_model(parsed.model),
        parsed.image,
        parsed.spots,
        pitch=parsed.pitch,
        um_per_pixel=parsed.um_per_pixel,
        device=parsed.device,
    )
    if parsed.figures is not None:
        from hist2st_pyg.evaluation.maps import draw_prediction

        for path in draw_prediction(adata, parsed.figures, parsed.genes):
            print(f"Picture: {path}")
    inference.write_h5ad(adata, parsed.output)
    print(f"{adata.n_obs} spots x {adata.n_vars} genes in {parsed.output}.")
