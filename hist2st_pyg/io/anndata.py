"""Read a section's positions, array places, tissue flags, patient and spot size from an AnnData."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.columns import LARGEST_NUMBER, flags, number_of
from hist2st_pyg.io.raw_counts import with_counts
from hist2st_pyg.patients import patient_name
from hist2st_pyg.section import PLACES
from hist2st_pyg.utils.array_places import grid_from_positions
from hist2st_pyg.utils.files import read_h5ad

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

PATIENT = "patient"
IN_TISSUE = "in_tissue"


def read_adata(path: Path, counts_layer: str | None) -> AnnData:
    """Read the spots in the tissue of an ``.h5ad``, with the raw counts in ``X``.

    Raises:
        ValueError: If it cannot be read or has no such layer, or no spot is in the tissue.
    """
    return with_counts(in_tissue(read_h5ad(path), path), counts_layer, str(path))


def in_tissue(adata: AnnData, path: str | Path) -> AnnData:
    """The spots whose ``obs["in_tissue"]`` is 1, or true; all without such a column. The log counts the others.

    Raises:
        ValueError: If a value is neither 0 nor 1, or none is 1.
    """
    if IN_TISSUE not in adata.obs:
        return adata
    inside = flags(adata.obs[IN_TISSUE], lambda row: f"{path}, spot {str(adata.obs_names[row])!r}")
    if not inside.any():
        raise ValueError(f"{path} has no spot left: in_tissue is 0 in all {len(inside)} spots.")
    return adata if inside.all() else adata[keep_inside(inside, str(path))].copy()


def keep_inside(inside: NDArray[np.bool_], source: str) -> NDArray[np.bool_]:
    """Log how many spots a mask drops, and return the mask."""
    logger.info("%s: dropped %d of %d spots, which are not in the tissue", source, (~inside).sum(), len(inside))
    return inside


def set_places(adata: AnnData, path: str | Path) -> None:
    """Check positions and array places, and derive missing places from the positions.

    ``obsm["spatial"]`` becomes float [N, 2], ``obs["array_col"]`` and ``obs["array_row"]`` integers.

    Raises:
        ValueError: If positions are missing, or a position or place is not a number; the message names the spot.
    """
    if "spatial" not in adata.obsm:
        # Do not guess from columns such as x_pixel: files differ in which of the two is horizontal.
        raise ValueError(
            f"{path} has no obsm['spatial'] (x right, y down, in image pixels). Its obs: "
            f"{', '.join(adata.obs.columns) or 'no columns'}; its obsm: {', '.join(adata.obsm) or 'nothing'}."
        )
    adata.obsm["spatial"] = plane_positions(adata.obsm["spatial"], adata, f"{path}: obsm['spatial']")
    missing = [column for column in PLACES if column not in adata.obs]
    if len(missing) == 1:
        raise ValueError(f"{path} has no obs[{missing[0]!r}]; give both of {', '.join(PLACES)}, or neither.")
    if missing:
        try:
            grid = grid_from_positions(adata.obsm["spatial"])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        for column, values in zip(PLACES, grid.T, strict=True):
            adata.obs[column] = values
    else:
        for column in PLACES:
            adata.obs[column] = _integers(adata, column, path)


def plane_positions(values: Any, adata: AnnData, what: str) -> NDArray[np.float64]:
    """Positions x, y as float [N, 2].

    Args:
        values: An array or table of two columns, or of three of which the last is constant; or a table with columns
            ``x`` and ``y``.
        adata: The data, for the names of the spots.
        what: The file and the values' place in it, for errors.

    Raises:
        ValueError: If ``values`` has another form, or a position is not a number.
    """
    columns = {str(column).lower(): column for column in getattr(values, "columns", ())}
    if {"x", "y"} <= set(columns):
        values = values[[columns["x"], columns["y"]]]
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if values.ndim != 2 or values.shape[1] not in (2, 3):
        raise ValueError(f"{what} must be [N, 2] (x right, y down, in image pixels), got shape {list(values.shape)}.")
    pos = np.vectorize(number_of, otypes=[np.float64])(values) if values.dtype.kind not in "uif" else values
    wrong = ~(np.abs(pos.astype(np.float64)) <= LARGEST_NUMBER).all(axis=1)
    if wrong.any():
        spot = int(wrong.argmax())
        raise ValueError(
            f"{what} must hold finite numbers of at most {LARGEST_NUMBER:g}, got {values[spot].tolist()} for spot "
            f"{str(adata.obs_names[spot])!r}."
        )
    if pos.shape[1] == 3:
        if len(np.unique(pos[:, 2])) > 1:
            raise ValueError(f"{what} has a third coordinate that varies; a section is flat. Keep x and y alone.")
        logger.info("%s: the third coordinate is the same in all spots and is dropped", what)
    return np.array(pos[:, :2], dtype=np.float64)


def _integers(adata: AnnData, column: str, path: str | Path) -> NDArray[np.int64]:
    values = np.array([number_of(value) for value in adata.obs[column].astype(object)])
    wrong = ~((values >= 0) & (values == np.floor(values)) & (values <= LARGEST_NUMBER))
    if wrong.any():
        spot = int(wrong.argmax())
        raise ValueError(
            f"{path}: obs[{column!r}] must hold integers from 0, got {adata.obs[column].iloc[spot]!r} for spot "
            f"{str(adata.obs_names[spot])!r}."
        )
    return values.astype(np.int64)


def patient_of(adata: AnnData, path: Path, key: str) -> str | None:
    """The patient in ``uns[key]`` or the column ``obs[key]``; None if the file has none under the default key."""
    if key in adata.uns:
        return patient_name(adata.uns[key], f"{path}: uns[{key!r}]")
    if key in adata.obs:
        values = {patient_name(value, f"{path}: obs[{key!r}]") for value in adata.obs[key].astype(object).unique()}
        if len(values) > 1:
            listed = ", ".join(sorted(value or "no name" for value in values))
            raise ValueError(f"{path}: a section must be of one patient, obs[{key!r}] has {listed}.")
        return values.pop()
    if key != PATIENT:
        raise ValueError(f"{path} has neither uns[{key!r}] nor obs[{key!r}] for the patient.")
    return None


def libraries(adata: AnnData) -> dict[str, Mapping[str, Any]]:
    """The libraries of ``uns["spatial"]`` by name; flags and other values that are not mappings are skipped."""
    spatial = adata.uns.get("spatial")
    if not isinstance(spatial, Mapping):
        return {}
    return {str(name): library for name, library in spatial.items() if isinstance(library, Mapping)}


def visium_diameter(adata: AnnData, path: Path) -> float | None:
    """The spots' diameter from Visium's scale factors; None if the file has none."""
    found = libraries(adata)
    if len(found) > 1:
        raise ValueError(f"{path} holds {len(found)} libraries ({', '.join(found)}); a file must hold one section.")
    key = "spot_diameter_fullres"
    return next((positive(scale_factors(library), key, f"{path}: {key}") for library in found.values()), None)


def scale_factors(library: Mapping[str, Any]) -> Mapping[str, Any]:
    """A library's scale factors; empty if it has none."""
    factors = library.get("scalefactors")
    return factors if isinstance(factors, Mapping) else {}


def first(*values: float | None) -> float | None:
    """The first value that is not None."""
    return next((value for value in values if value is not None), None)


def positive(values: Mapping[str, Any], key: str, what: str) -> float | None:
    """The value of a key, a number or an array of one; None if unknown, which files write as -1, NaN or nothing.

    Args:
        values: The values.
        key: The key.
        what: The name of the value, for the error.

    Raises:
        ValueError: If it is not a number.
    """
    value = values.get(key)
    plain = np.asarray(value).reshape(-1)
    if value is None or not plain.size:
        return None
    number = number_of(plain[0]) if plain.size == 1 else math.nan
    if plain.size > 1 or (math.isnan(number) and str(plain[0]).strip().lower() not in ("nan", "none", "")):
        raise ValueError(f"{what} must be a number, got {value!r}.")
    return number if math.isfinite(number) and number > 0 else None
