"""Write HDF5 files so that a full disk raises a single OSError."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData


class ErrorKeepingFile(io.FileIO):
    """A file that keeps the first error of writing and drops what follows.

    HDF5 cannot close a file after a failed write: it prints tracebacks from destructors, and tries again when the
    process ends. This class hides the failure from HDF5; the caller raises :attr:`error`.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of the data."""
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self.error is None and written < len(view):
                written += super().write(view[written:])
        except OSError as error:
            self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


def write_anndata(adata: AnnData, path: Path) -> None:
    """Write an ``.h5ad``.

    Raises:
        OSError: If it cannot be written.
    """
    import h5py
    from anndata.io import write_elem

    adata.strings_to_categoricals()  # as AnnData.write_h5ad does, which takes no file object
    with ErrorKeepingFile(path, "w+") as file:
        try:
            with h5py.File(file, "w") as root:
                write_elem(root, "/", adata, dataset_kwargs={"compression": "gzip"})
        finally:
            if file.error is not None:  # also in place of what HDF5 raises when it misses the dropped data
                raise file.error
