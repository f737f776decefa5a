"""10x Genomics' matrices of genes and barcodes, as Space Ranger writes them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hist2st_pyg.utils.reading import check_gzip, check_hdf5, reading

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

KIND = "a matrix of counts of Space Ranger"
MATRIX = "filtered_feature_bc_matrix"
"""The counts: this ``.h5`` file, or a folder of :data:`FILES`."""
FILES = ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
PARTS = ("barcodes", "data", "indices", "indptr", "shape", "features/id", "features/name", "features/feature_type")
"""Required elements of ``matrix`` in the ``.h5`` file."""


def matrix_of(folder: Path) -> Path | None:
    """The counts of an output; 10x Genomics' public data have the sample's name before the file's.

    Raises:
        ValueError: If there are several.
    """
    for path, there in ((folder / f"{MATRIX}.h5", Path.is_file), (folder / MATRIX, Path.is_dir)):
        if there(path):
            return path
    named = sorted(folder.glob(f"[!.]*_{MATRIX}.h5"))
    if len(named) > 1:
        raise ValueError(f"{folder} holds {len(named)} matrices ({', '.join(p.name for p in named)}); keep one.")
    return named[0] if named else None


def read_counts(folder: Path) -> tuple[AnnData, Path]:
    """Read the counts of genes, "Gene Expression" only, and return their file too.

    Genes have their symbols as names. If several share one, the second becomes ``<symbol>-1``, and so on, as with
    anndata's ``var_names_make_unique``; ``var["gene_ids"]`` holds the unique ids.

    Args:
        folder: The output.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If they cannot be read.
    """
    import warnings

    import scanpy
    from scipy.sparse import csr_matrix

    path = matrix_of(folder)
    if path is None:
        raise FileNotFoundError(f"{folder} has no counts: there is neither {MATRIX}.h5 nor a folder {MATRIX}.")
    _check_matrix(path)
    with reading(path, KIND), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        adata = scanpy.read_10x_h5(path) if path.is_file() else scanpy.read_10x_mtx(path, make_unique=False)
    if not adata.n_vars:
        raise ValueError(f"{path} has no feature of the type 'Gene Expression'.")
    adata.X = csr_matrix(adata.X)
    if twice := int(adata.var_names.duplicated().sum()):
        logger.info("%s: %d genes share the symbol of another and are numbered, as in SYMBOL-1", path, twice)
        adata.var_names_make_unique()
    return adata, path


def _check_matrix(path: Path) -> None:
    """Name missing files and elements, which scanpy's errors do not, and refuse implausible unpacked sizes."""
    import h5py
    from scipy.sparse import csc_matrix

    if path.is_dir():
        if missing := [name for name in FILES if not (path / name).is_file()]:
            raise FileNotFoundError(f"{path} has no {missing[0]}; a matrix consists of {', '.join(FILES)}.")
        for name in FILES:
            check_gzip(path / name)
        return
    check_hdf5(path, KIND)
    with reading(path, KIND), h5py.File(path, "r") as file:
        missing = [name for name in PARTS if f"matrix/{name}" not in file]
        if not missing:
            # An index out of range would crash scipy's compiled code.
            data, indices, indptr, shape = (
                file[f"matrix/{name}"][()] for name in ("data", "indices", "indptr", "shape")
            )
            csc_matrix((data, indices, indptr), shape=tuple(shape)).check_format(full_check=True)
    if missing:
        raise ValueError(f"{path} is not a matrix of Space Ranger: it has no matrix/{missing[0]}.")
