"""The output formats of a prediction, written and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hist2st_pyg.utils.files import atomic_path, read_h5ad, write_h5ad
from hist2st_pyg.utils.staging import move_in, staged

if TYPE_CHECKING:
    from anndata import AnnData


class Output(NamedTuple):
    """An output format.

    Args:
        write: Writes a prediction; replaces an earlier output only when the new one is complete.
        read: Reads a prediction; None if the format does not hold all of it.
    """

    write: Callable[[AnnData, Path], None]
    read: Callable[[Path], AnnData] | None


def _write_store(adata: AnnData, path: Path) -> None:
    from hist2st_pyg.inference.store import write_spatialdata

    with staged(path) as folder:
        write_spatialdata(adata, folder / path.name)
        move_in(folder / path.name, path, replace=True)


def _read_store(path: Path) -> AnnData:
    import anndata

    from hist2st_pyg.inference.store import TABLE

    return anndata.read_zarr(path / "tables" / TABLE)


def _write_csv(adata: AnnData, path: Path) -> None:
    """Write a row for each spot: its name, ``x, y`` in pixels, each gene's expression; without layers and notes."""
    import pandas as pd

    if taken := [gene for gene in adata.var_names if gene in CSV_COLUMNS]:
        raise ValueError(f"The gene {taken[0]!r} has the name of another column of the .csv; write .h5ad instead.")
    where = pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names, columns=list(CSV_COLUMNS[1:]))
    with atomic_path(path) as temporary:
        where.join(adata.to_df()).to_csv(temporary, index_label=CSV_COLUMNS[0])


CSV_COLUMNS = ("spot", "x", "y")
"""The columns of a .csv before those of the genes."""

OUTPUTS: dict[str, Output] = {
    "csv": Output(_write_csv, None),
    "h5ad": Output(write_h5ad, read_h5ad),
    "zarr": Output(_write_store, _read_store),
}
"""The output formats by file suffix: a table, AnnData's file and a SpatialData store."""
