"""The labels by which a prediction's regions are judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hist2st_pyg.inference.layout import GRID
from hist2st_pyg.io.labels import LABEL, column_labels, has_places, read_labels

if TYPE_CHECKING:
    from anndata import AnnData


def labels_of(adata: AnnData, source: str | Path | None) -> NDArray[Any] | None:
    """The labels that a user names: a file, or a column of ``obs``.

    Args:
        adata: The prediction.
        source: A file for :func:`~hist2st_pyg.io.labels.read_labels`, a column's name, or None, which takes
            ``obs["label"]`` where there is one.

    Returns:
        Labels [N], str, "undetermined" where a spot has none; None where there are none at all.

    Raises:
        ValueError: If there is neither such a file nor such a column, or the file is not right.
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
    if has_places(path) and adata.uns.get("hist2st", {}).get("positions") == GRID:
        raise ValueError(
            f"{path} has labels by array place, but the prediction's spots are a grid laid on the tissue; predict at "
            "the section's spots (--spots)."
        )
    return read_labels(path, adata)
