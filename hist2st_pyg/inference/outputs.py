"""The output formats of a prediction, written and read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hist2st_pyg.io.geojson import write_geojson
from hist2st_pyg.utils.csv_cells import write_csv
from hist2st_pyg.utils.files import read_h5ad, write_h5ad
from hist2st_pyg.utils.staging import move_in, staged
from hist2st_pyg.utils.writable import check_file

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


def check_output(path: str, format: str, genes: Sequence[str], overwrite: bool = False) -> None:
    """Check before a prediction that its output can be written.

    Args:
        path: The file or store.
        format: A key of :data:`OUTPUTS`.
        genes: The panel.
        overwrite: Whether a prediction in an existing store may be replaced.

    Raises:
        OSError: If it cannot be written.
        ValueError: If a gene has the name of another column, or a store has a prediction that must not be replaced.
    """
    if format == "zarr":
        from hist2st_pyg.inference.store import check_store

        check_store(Path(path), overwrite=overwrite)
        return
    check_file(path)
    check_columns(format, genes)


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
    """Write one row per spot: name, ``x, y`` in pixels, expression of each gene; without layers and notes."""
    import pandas as pd

    check_columns("csv", list(adata.var_names))
    where = pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names, columns=list(CSV_COLUMNS[1:]))
    write_csv(where.join(adata.to_df()), path, index_label=CSV_COLUMNS[0])


def check_columns(format: str, genes: Sequence[str]) -> None:
    """Raise if a gene has the name of a reserved column of the format."""
    if taken := [gene for gene in genes if format == "csv" and gene in CSV_COLUMNS]:
        raise ValueError(f"The gene {taken[0]!r} has the name of a reserved column of the .csv; write .h5ad instead.")


CSV_COLUMNS = ("spot", "x", "y")
"""The columns of a .csv before those of the genes."""

OUTPUTS: dict[str, Output] = {
    "csv": Output(_write_csv, None),
    "geojson": Output(write_geojson, None),
    "h5ad": Output(write_h5ad, read_h5ad),
    "zarr": Output(_write_store, _read_store),
}
"""The output formats by file suffix: a table, spots for QuPath, AnnData's file and a SpatialData store."""
