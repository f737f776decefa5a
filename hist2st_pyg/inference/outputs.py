"""What a slide's prediction is written as, and how it is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from hist2st_pyg.files import read_h5ad, write_h5ad

if TYPE_CHECKING:
    from anndata import AnnData


class Output(NamedTuple):
    """A kind of output.

    Args:
        write: Writes a prediction; what is there of the same name is replaced when the new one is whole.
        read: Reads it again.
    """

    write: Callable[[AnnData, Path], None]
    read: Callable[[Path], AnnData]


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


OUTPUTS: dict[str, Output] = {"h5ad": Output(write_h5ad, read_h5ad), "zarr": Output(_write_store, _read_store)}
"""The outputs, by the end of their files' names: AnnData's file and a SpatialData store."""
