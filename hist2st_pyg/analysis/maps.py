"""Draw a prediction: maps of its genes, and the positions of its spots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg import figures
from hist2st_pyg.analysis.predictions import background_of, file_of, name_of
from hist2st_pyg.image.tissue import tissue_mask
from hist2st_pyg.inference import LAID_GRID

if TYPE_CHECKING:
    from anndata import AnnData


def draw_prediction(
    adata: AnnData, folder: str | Path, genes: Sequence[str] | None = None, n_genes: int = 4
) -> list[Path]:
    """Draw a prediction on its image.

    Args:
        adata: A prediction, as :func:`~hist2st_pyg.predict` returns it.
        folder: Folder of the pictures.
        genes: The genes to draw; None draws those with the highest variance over the tissue.
        n_genes: Number of genes if ``genes`` is None.

    Returns:
        The pictures: ``<name>_predicted.png``, and ``<name>_tissue.png`` if the spots are a grid on the tissue.

    Raises:
        ValueError: If a gene is not in the panel.
    """
    expression = np.asarray(adata.X)
    title = "predicted"
    if genes is None:
        genes = [str(gene) for gene in adata.var_names[np.argsort(-expression.var(0))[:n_genes]]]
        title += f", the {len(genes)} of {adata.n_vars} genes that vary most"
    if unknown := [gene for gene in genes if gene not in adata.var_names]:
        raise ValueError(f"The gene {unknown[0]!r} is not in the model's panel of {adata.n_vars} genes.")
    name, background = file_of(adata), background_of(adata)
    pos = np.asarray(adata.obsm["spatial"])
    values = {gene: expression[:, adata.var_names.get_loc(gene)] for gene in genes}
    maps = figures.expression_maps(pos, values, **background, title=f"{name_of(adata)}: {title}")
    pictures = [figures.save(maps, Path(folder) / f"{name}_predicted.png")]
    if adata.uns["hist2st"]["positions"] == LAID_GRID:
        image, scale, um_per_pixel = (background[key] for key in ("image", "image_scale", "um_per_pixel"))
        resolution = None if um_per_pixel is None else um_per_pixel / scale
        overview = figures.tissue_overview(image, tissue_mask(image), pos * scale, um_per_pixel=resolution)
        pictures.append(figures.save(overview, Path(folder) / f"{name}_tissue.png"))
    return pictures
