"""Read a prediction, and measured expression in the prediction's order and unit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hist2st_pyg.data.expression import log_expression
from hist2st_pyg.datasets import load_sections
from hist2st_pyg.io.anndata import libraries
from hist2st_pyg.section import Section, wrong_count
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import read_h5ad
from hist2st_pyg.utils.rows import Floats

if TYPE_CHECKING:
    from anndata import AnnData


def read_prediction(path: str | Path) -> AnnData:
    """Read the ``.h5ad`` of a prediction, or of other log expression with ``obsm["spatial"]``.

    Args:
        path: The file, as ``hist2st predict`` writes it.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not AnnData, has no positions, or holds raw counts.
    """
    adata = read_h5ad(path)
    check_prediction(adata, str(path))
    return adata


def read_measured(
    measured: str | Path,
    name: str | None = None,
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> AnnData | Section:
    """Read the measured section that belongs to a prediction.

    Args:
        measured: An ``.h5ad`` of raw counts or, with ``name``, the section's name in that data set.
        name: The data set, a key of :data:`~hist2st_pyg.datasets.DATASETS`.
        root: Its folder.
        options: Further options of its reader.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ValueError: If the file is not AnnData, or the data set or section is unknown.
    """
    if name is None:
        return read_h5ad(measured)
    return load_sections(name, root, [str(measured)], **(options or {}))[0]


def check_prediction(adata: AnnData, source: str = "The prediction") -> None:
    """Raise a ValueError for data without expression or positions, and for raw counts; it names ``source``."""
    if not adata.n_obs or not adata.n_vars:
        raise ValueError(f"{source} is empty: {adata.n_obs} spots and {adata.n_vars} genes.")
    if adata.X is None:
        raise ValueError(f"{source} has no expression: X is empty.")
    if "spatial" not in adata.obsm or np.shape(adata.obsm["spatial"]) != (adata.n_obs, 2):
        raise ValueError(f"{source} has no positions; obsm['spatial'] must hold each spot's x, y in image pixels.")
    if not np.isfinite(np.asarray(adata.obsm["spatial"], dtype=np.float64)).all():
        raise ValueError(f"{source}: positions (obsm['spatial']) must be finite, got nan or infinity.")
    for what, names in (("gene", adata.var_names), ("spot", adata.obs_names)):
        if not names.is_unique:
            raise ValueError(f"{source} has the {what} {names[names.duplicated()][0]!r} twice; make the names unique.")
    values = expression_of(adata)
    if not np.isfinite(values).all():
        raise ValueError(f"{source}: X must be finite, got nan or infinity.")
    if values.max() > 1 and (values == np.floor(values)).all():
        raise ValueError(f"{source}: X must be log expression, got whole numbers, which look like raw counts.")


def expression_of(adata: AnnData, layer: str | None = None) -> Floats:
    """Return ``X`` or a layer as a dense array, float [N spots, G genes]."""
    if layer is not None and layer not in adata.layers:
        known = ", ".join(adata.layers) or "none"
        raise ValueError(f"The prediction has no layer {layer!r}; it has: {known}.")
    values: Any = adata.X if layer is None else adata.layers[layer]
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)


def is_prediction(adata: AnnData) -> bool:
    """Whether a model predicted the expression: :func:`~hist2st_pyg.predict` writes ``uns["hist2st"]``."""
    return "hist2st" in adata.uns


def name_of(adata: AnnData) -> str:
    """Return the section's name in ``uns["spatial"]``, or ``section``."""
    return next(iter(libraries(adata)), "section")


def file_of(adata: AnnData) -> str:
    """Return the section's name as a valid file name."""
    return file_name(name_of(adata))


def background_of(adata: AnnData) -> dict[str, Any]:
    """Return the known ones of ``um_per_pixel``, ``spot_diameter``, ``image`` and ``image_scale``, for maps."""
    known = {"um_per_pixel": adata.uns.get("hist2st", {}).get("um_per_pixel")}
    library = next(iter(libraries(adata).values()), {})
    images, scales = library.get("images"), library.get("scalefactors")
    if not isinstance(images, Mapping) or not isinstance(scales, Mapping):
        return known
    known["spot_diameter"] = scales.get("spot_diameter_fullres")
    if "hires" not in images or "tissue_hires_scalef" not in scales:
        return known
    image = np.asarray(images["hires"])
    if image.dtype != np.uint8:  # scanpy's own images are floats from 0 to 1
        image = np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
    return {**known, "image": image[..., :3], "image_scale": float(scales["tissue_hires_scalef"])}


def measured_counts(adata: AnnData, measured: AnnData | Section) -> tuple[AnnData, AnnData]:
    """Select the spots and genes that a prediction shares with a measured section, in the prediction's order.

    Args:
        adata: The prediction.
        measured: Raw counts; spots and genes are joined by their names.

    Returns:
        The prediction, and dense raw counts, with each spot's total over the genes of the prediction's unit (its panel,
        or all genes) in ``obs["total"]``.

    Raises:
        ValueError: If they share fewer than three spots or no gene, or ``measured`` has no raw counts.
    """
    from anndata import AnnData

    counts = measured.adata if isinstance(measured, Section) else measured
    what = f"section {measured.name!r}" if isinstance(measured, Section) else "the measured data"
    for axis, names in (("spots", counts.obs_names), ("genes", counts.var_names)):
        if not names.is_unique:
            raise ValueError(f"The names of the {axis} of {what} are not unique: {names[names.duplicated()][0]!r}.")
    spots = [name for name in adata.obs_names if name in counts.obs_names]
    genes = [name for name in adata.var_names if name in counts.var_names]
    if len(spots) < 3 or not genes:
        raise ValueError(
            f"The prediction and {what} share {len(spots)} of {adata.n_obs} spots and {len(genes)} of {adata.n_vars} "
            f"genes, but 3 spots and 1 gene are needed; their first spots are {adata.obs_names[0]!r} and "
            f"{counts.obs_names[0]!r}. Check that this is the same section, predicted at its own spots."
        )
    values = expression_of(counts[spots, genes])
    if problem := wrong_count(values):
        raise ValueError(f"X of {what} must hold raw counts (whole numbers from 0), {problem}.")
    total = adata.uns.get("hist2st", {}).get("normalize_by", "panel")
    totals = values.sum(1) if total == "panel" else np.asarray(counts[spots].X.sum(1)).ravel()
    shared = AnnData(values, obsm={"spatial": np.asarray(adata[spots].obsm["spatial"])})
    shared.obs_names, shared.var_names = spots, genes
    shared.obs["total"] = totals
    return adata[spots, genes].copy(), shared


def measured_expression(adata: AnnData, measured: AnnData | Section) -> tuple[AnnData, AnnData]:
    """Like :func:`measured_counts`, with log10 expression in the prediction's unit instead of counts."""
    predicted, counts = measured_counts(adata, measured)
    counts.X = log_expression(np.asarray(counts.X), counts.obs["total"].to_numpy(dtype=np.float64)[:, None])
    return predicted, counts
