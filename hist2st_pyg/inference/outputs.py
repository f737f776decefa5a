"""What a slide's prediction is written as, and how it is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from hist2st_pyg.utils.files import atomic_path, read_h5ad, write_h5ad

if TYPE_CHECKING:
    from anndata import AnnData


class Output(NamedTuple):
    """A kind of output.

    Args:
        write: Writes a prediction; what is there of the same name is replaced when the new one is whole.
        read: Reads it again; None where the file does not hold all of a prediction.
    """

    write: Callable[[AnnData, Path], None]
    read: Callable[[Path], AnnData] | None


def _write_store(adata: AnnData, path: Path) -> None:
    from hist2st_pyg.inference.store import write_spatialdata

    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        write_spatialdata(adata, Path(folder) / path.name)
        if path.exists():
            path.rename(Path(folder) / "replaced")
        (Path(folder) / path.name).rename(path)


def _read_store(path: Path) -> AnnData:
    import anndata

    from hist2st_pyg.inference.store import TABLE

    return anndata.read_zarr(path / "tables" / TABLE)


def _write_csv(adata: AnnData, path: Path) -> None:
    """A row for each spot: its name, ``x, y`` in pixels, and the expression of each gene; layers and notes are lost."""
    import pandas as pd

    if taken := [gene for gene in adata.var_names if gene in CSV_COLUMNS]:
        raise ValueError(f"The gene {taken[0]!r} is named as a column of the .csv is; write .h5ad instead.")
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
"""The outputs, by the end of their files' names: a table, AnnData's file and a SpatialData store."""
