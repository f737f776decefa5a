"""What AnnData says of a section in the ways that are common: counts, places, patient, size of the spots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hist2st_pyg.io.array_places import grid_from_positions
from hist2st_pyg.patients import patient_name
from hist2st_pyg.utils.files import read_h5ad

PATIENT = "patient"


def read_adata(path: Path, counts_layer: str | None) -> Any:
    """Read an ``.h5ad``, with the raw counts in ``X``.

    Raises:
        ValueError: If it cannot be read or has no such layer.
    """
    adata = read_h5ad(path)
    set_counts(adata, counts_layer, str(path))
    return adata


def set_counts(adata: Any, layer: str | None, source: str) -> None:
    """Put a layer's counts into ``X``, where one is named; sparse ones by rows. ``source`` is named in the error."""
    from scipy.sparse import csr_matrix, issparse

    if layer is not None:
        if layer not in adata.layers:
            listed = ", ".join(adata.layers) or "none"
            raise ValueError(f"{source} has no layer {layer!r} for the counts; its layers: {listed}.")
        adata.X = adata.layers[layer].copy()
    if issparse(adata.X):
        adata.X = csr_matrix(adata.X)


def set_places(adata: Any, path: Path) -> None:
    """Give spots without ``obs["array_col"]`` and ``obs["array_row"]`` places from their positions."""
    if "spatial" not in adata.obsm:
        # Columns such as x_pixel are not guessed: files differ in which of the two runs right.
        raise ValueError(
            f"{path} has no obsm['spatial'] (x right, y down, in image pixels). Its obs: "
            f"{', '.join(adata.obs.columns) or 'no columns'}; its obsm: {', '.join(adata.obsm) or 'nothing'}."
        )
    columns = ("array_col", "array_row")
    missing = [column for column in columns if column not in adata.obs]
    if len(missing) == 1:
        raise ValueError(f"{path} has no obs[{missing[0]!r}] although it has the other of {', '.join(columns)}.")
    if missing:
        grid = grid_from_positions(np.asarray(adata.obsm["spatial"]))
        for column, values in zip(columns, grid.T, strict=True):
            adata.obs[column] = values


def patient_of(adata: Any, path: Path, key: str) -> str | None:
    """The patient that the file says, by a key of ``uns`` or a column of ``obs``; None where it says none."""
    if key in adata.uns:
        return patient_name(adata.uns[key], f"{path}: uns[{key!r}]")
    if key in adata.obs:
        column = adata.obs[key].astype(object)
        if column.isna().all():
            return None
        values = {patient_name(value, f"{path}: obs[{key!r}]") for value in column.where(column.notna(), None)}
        if len(values) > 1:
            listed = ", ".join(sorted(value or "no name" for value in values))
            raise ValueError(f"{path}: a section is of one patient, obs[{key!r}] has {listed}.")
        return values.pop()
    if key != PATIENT:
        raise ValueError(f"{path} has neither uns[{key!r}] nor obs[{key!r}] for the patient.")
    return None


def visium_diameter(adata: Any, path: Path) -> float | None:
    """The spots' diameter by Visium's scale factors, where the file has them."""
    libraries = adata.uns.get("spatial", {})
    if not isinstance(libraries, Mapping) or not libraries:
        return None
    if len(libraries) > 1:
        raise ValueError(f"{path} holds {len(libraries)} libraries ({', '.join(libraries)}); a file is one section.")
    (library,) = libraries.values()
    return positive(library.get("scalefactors", {}), "spot_diameter_fullres")


def first(*values: float | None) -> float | None:
    """The first value that is known."""
    return next((value for value in values if value is not None), None)


def positive(values: Mapping[str, Any], key: str) -> float | None:
    """The value where it is known; files write -1 or nothing where it is not."""
    value = values.get(key)
    return float(value) if value is not None and float(value) > 0 else None
