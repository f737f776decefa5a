"""Read the labels that a prediction's regions are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hist2st_pyg.inference.layout import LAID_GRID
from hist2st_pyg.io.labels import LABEL, column_labels, has_places, read_labels

if TYPE_CHECKING:
    from anndata import AnnData


def labels_of(adata: AnnData, source: str | Path | None) -> NDArray[Any] | None:
    """Read labels from a file or a column of ``obs``.

    Args:
        adata: The prediction.
        source: A file for :func:`~hist2st_pyg.io.labels.read_labels`, a column's name, or None, which uses
            ``obs["label"]`` if it exists.

    Returns:
        Labels [N], str, "undetermined" for spots without one; None if there are no labels.

    Raises:
        ValueError: If neither such a file nor such a column exists, or the file is invalid.
    """
    if source is None and LABEL not in adata.obs:
        return None
    column = LABEL if source is None else str(source)
    if column in adata.obs:
        return column_labels(adata.obs, column)
    path = Path(column)
    if not path.is_file():
        columns = ", ".join(map(str, adata.obs.columns)) or "none"
        raise ValueError(f"Labels {column!r}: there is no such file, and no such column of obs; columns: {columns}.")
    if has_places(path) and adata.uns.get("hist2st", {}).get("positions") == LAID_GRID:
        raise ValueError(
            f"{path} has labels by array position, but the prediction's spots are a grid on the tissue; predict at "
            "the section's spots (--spots)."
        )
    return read_labels(path, adata)
