"""Labels of spots, from a column of an AnnData or from a file, for example a pathologist's regions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.annotations import SUFFIXES, annotated, read_annotations
from hist2st_pyg.io.columns import numbers
from hist2st_pyg.io.tables import UNLABELED, by_place, read_table, require_columns
from hist2st_pyg.utils.files import read_text

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

logger = logging.getLogger(__name__)

LABEL = "label"
PLACED = ("x", "y", LABEL)
MISSING = ("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""Texts in tables for a missing label or place."""
FORMATS = "her2st's *_labeled_coordinates.tsv (x, y, label), CSV of spot and label, and QuPath's .geojson"


def column_labels(obs: pd.DataFrame, key: str) -> NDArray[Any]:
    """The labels in a column of ``obs``, str [N]; "undetermined" where a spot has none."""
    column = obs[key].astype(object)
    return np.asarray(column.where(column.notna(), UNLABELED).astype(str), dtype=object)


def label_by_column(adata: AnnData, path: Path, key: str) -> None:
    """Set ``obs["label"]`` from a column of ``obs``; only the default column may be missing.

    Raises:
        ValueError: If another column is missing; the message names ``path``.
    """
    if key in adata.obs:
        adata.obs[LABEL] = column_labels(adata.obs, key)
    elif key != LABEL:
        raise ValueError(f"{path} has no obs[{key!r}] for the labels; its obs: {', '.join(adata.obs.columns)}.")


def read_labels(path: str | Path, adata: AnnData, key: str | None = None) -> NDArray[Any]:
    """Read the labels of a section's spots.

    Args:
        path: her2st's ``*_labeled_coordinates.tsv`` (``x, y, label``, joined by array place), or a table, separated by
            commas or tabs, whose first column is the spot's name, as Loupe Browser exports it; or annotations of QuPath
            (``.geojson``, ``.json``), see :func:`~hist2st_pyg.io.annotations.annotated`.
        adata: The section, with ``obs["array_col"]`` and ``obs["array_row"]`` where places are joined, and
            ``obsm["spatial"]`` in pixels of the full resolution for annotations.
        key: The table's column of labels; None takes ``label``, or the only other column.

    Returns:
        Labels [N], str, in the section's order; "undetermined" where the file has none for a spot.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is none of these, the column is ambiguous, a spot occurs twice, or the file shares no
            spot with the section.
    """
    path = Path(path)
    if path.suffix.lower() in SUFFIXES:
        return _labels_of_areas(path, adata)
    if has_places(path):
        labels, names = labels_by_place(path), _places(adata, path)
    else:
        labels, names = _labels_by_name(path, key), list(adata.obs_names)
    known = labels.mask(labels.isin(MISSING)).reindex(names)
    found = int(known.notna().sum())
    if not found:
        given = f"{labels.index[0]!r}, ..." if len(labels) else "no spot with a place"
        raise ValueError(
            f"{path} shares no labeled spot with the section: the file has {given}, the section {names[0]!r}, ...; "
            "check that it is of the same section and spots."
        )
    if found < len(names):
        logger.warning("%s: %d of %d spots have no label", path, len(names) - found, len(names))
    return np.asarray(known.fillna(UNLABELED).astype(str), dtype=object)


def _labels_of_areas(path: Path, adata: AnnData) -> NDArray[Any]:
    pos = np.asarray(adata.obsm["spatial"], dtype=np.float64)
    labels = annotated(pos, read_annotations(path))
    found = int((labels != UNLABELED).sum())
    if not found:
        (x0, y0), (x1, y1) = pos.min(0), pos.max(0)
        raise ValueError(
            f"{path}: no spot lies in an annotated area; the spots extend from x={x0:.0f}, y={y0:.0f} to "
            f"x={x1:.0f}, y={y1:.0f}. Check that it is of this slide, in pixels of the full resolution."
        )
    if found < len(labels):
        logger.warning("%s: %d of %d spots lie in no annotated area", path, len(labels) - found, len(labels))
    return labels


def has_places(path: Path) -> bool:
    """Whether a file has labels by array place, as her2st's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not text.
    """
    return set(PLACED) <= set(read_text(path).split("\n", 1)[0].split("\t"))


def labels_by_place(path: Path) -> pd.Series[Any]:
    """Read labels by array place, ``"COLxROW"``; rows without a place, which the authors dropped, are skipped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing, a place is not a number, or two rows have the same place.
    """
    table = read_table(path)
    require_columns(table, PLACED, path)
    kept = table.iloc[np.flatnonzero(~table[list(PLACED)].isin(MISSING).any(axis=1))]
    return by_place(numbers(kept, PLACED[:2], path), path)[LABEL]


def _places(adata: AnnData, path: Path) -> list[str]:
    if missing := [column for column in ("array_col", "array_row") if column not in adata.obs]:
        raise ValueError(f"{path} has labels by array place, but the section has no obs[{missing[0]!r}].")
    places = adata.obs[["array_col", "array_row"]].astype(int)
    return [f"{column}x{row}" for column, row in places.to_numpy()]


def _labels_by_name(path: Path, key: str | None) -> pd.Series[Any]:
    table = read_table(path)
    spot, *others = table.columns
    columns = ", ".join(map(repr, others)) or "none"
    if key is None and (LABEL in others or len(others) == 1):
        key = LABEL if LABEL in others else others[0]
    if key is None:
        raise ValueError(
            f"{path} has {len(others)} columns beside the spot ({columns}); name one {LABEL!r}, or set label_key. "
            f"Labels are read from {FORMATS}."
        )
    if key not in others:
        raise ValueError(f"{path} has no column {key!r} for the labels; its columns: {columns}.")
    labels = table.set_index(spot)[key]
    if labels.index.has_duplicates:
        raise ValueError(f"{path}: spot {labels.index[labels.index.duplicated()][0]!r} occurs more than once.")
    return labels
