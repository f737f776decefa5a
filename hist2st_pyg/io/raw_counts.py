"""Find the matrix of an AnnData that holds the raw counts: X, a layer, or ``.raw``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hist2st_pyg.section import wrong_count

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

COUNTS = ("counts", "raw_counts")
"""Names of the layer in which users of scanpy and Seurat keep counts."""

RAW = "raw"
"""The value of ``counts_layer`` for ``adata.raw``, if there is no layer of this name."""


def with_counts(adata: AnnData, layer: str | None, source: str) -> AnnData:
    """Return the data with raw counts in ``X``, in CSR format if they are sparse.

    If no layer is named and ``X`` was normalized, the counts are read from a layer of :data:`COUNTS` or from
    ``adata.raw``, and the log names it.

    Args:
        adata: The data.
        layer: The layer of the counts, or ``"raw"``.
        source: The file, for the log and errors.

    Raises:
        ValueError: If there is no such layer, or no layer is named and the counts are not found or ambiguous.
    """
    from scipy.sparse import csr_matrix, issparse

    if layer is None:
        layer = _where(adata, source)
    if layer in adata.layers:
        adata.X = adata.layers[layer].copy()
    elif layer == RAW and adata.raw is not None:
        adata = _of_raw(adata)
    elif layer is not None:
        raise ValueError(f"{source} has no layer {layer!r} for the counts; its layers: {_listed(adata)}.")
    if issparse(adata.X):
        adata.X = csr_matrix(adata.X)
    return adata


def _where(adata: AnnData, source: str) -> str | None:
    """The layer that holds the counts, or ``"raw"``; None for ``X``."""
    problem = "got none" if adata.X is None else wrong_count(adata.X)
    if problem is None:
        return None
    found: dict[str, Any] = {name: adata.layers[name] for name in adata.layers if name.lower() in COUNTS}
    if adata.raw is not None:
        found[RAW] = adata.raw.X
    usable = [name for name, matrix in found.items() if wrong_count(matrix) is None]
    if not usable:
        raise ValueError(
            f"{source}: X must hold raw counts, {problem}, and there are none in layers['counts'] or .raw; set "
            f"counts_layer to their layer (layers: {_listed(adata)})."
        )
    if len(usable) > 1 and not all(_same(adata, usable[0], other) for other in usable[1:]):
        raise ValueError(
            f"{source}: X must hold raw counts, {problem}, and {' and '.join(map(repr, usable))} hold different ones; "
            "set counts_layer to one."
        )
    where = ".raw" if usable[0] == RAW else f"layers[{usable[0]!r}]"
    logger.info("%s: X holds no raw counts (%s); they are read from %s", source, problem, where)
    return usable[0]


def _listed(adata: AnnData) -> str:
    return ", ".join([*adata.layers, *([RAW] if adata.raw is not None else [])]) or "none"


def _same(adata: AnnData, first: str, second: str) -> bool:
    """Whether two matrices hold the same counts of the genes in ``X``."""
    a, b = (
        adata.raw[:, adata.var_names].X if name == RAW and name not in adata.layers else adata.layers[name]
        for name in (first, second)
    )
    return bool(abs(a - b).max() == 0)


def _of_raw(adata: AnnData) -> AnnData:
    raw = adata.raw.to_adata()
    raw.X = raw.X.copy()
    return raw
