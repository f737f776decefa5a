"""Labels of a prediction's spots, read from a file: a pathologist's regions, say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.inference.layout import GRID
from hist2st_pyg.io.tables import UNLABELED, by_place, numbers, read_columns

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

logger = logging.getLogger(__name__)
PLACED = ("x", "y", "label")
FORMATS = "her2st's *_labeled_coordinates.tsv (x, y, label) and CSV of spot and label"


def labels_of(adata: AnnData, source: str | Path | None) -> NDArray[Any] | None:
    """The labels that a user names: a file, or a column of ``obs``.

    Args:
        adata: The prediction.
        source: A file for :func:`read_labels`, a column's name, or None, which takes ``obs["label"]`` where there is
            one.

    Returns:
        Labels [N], str, "undetermined" where a spot has none; None where there are none at all.

    Raises:
        ValueError: If there is neither such a file nor such a column, or the file is not right.
    """
    import pandas as pd

    if source is None:
        source = "label"
        if source not in adata.obs:
            return None
    if str(source) in adata.obs:
        column = adata.obs[str(source)].astype(object)
        return np.asarray(column.where(~pd.isna(column), UNLABELED).astype(str), dtype=object)
    if Path(source).is_file():
        return read_labels(source, adata)
    columns = ", ".join(map(str, adata.obs.columns)) or "none"
    raise ValueError(f"Labels {str(source)!r}: there is no such file, and no such column of obs; columns: {columns}.")


def read_labels(path: str | Path, adata: AnnData) -> NDArray[Any]:
    """Read the labels of a prediction's spots.

    Args:
        path: her2st's ``*_labeled_coordinates.tsv`` (``x, y, label``, joined by array place), or a CSV whose first
            column is the spot's name and whose ``label`` (or second and last) column is its label.
        adata: The prediction, with ``obs["array_col"]`` and ``obs["array_row"]`` where places are joined.

    Returns:
        Labels [N], str, in the prediction's order; "undetermined" where the file has none for a spot.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of no such format, a spot is there twice, or it shares no spot with the prediction.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        header = path.open(encoding="utf-8-sig").readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file; labels are read from {FORMATS}.") from error
    if set(PLACED) <= set(header.split("\t")):
        labels, names = _placed(path), _places(adata, path)
    else:
        labels, names = _named(path, "\t" if "\t" in header else ","), list(adata.obs_names)
    known = labels[~labels.isna()].reindex(names)
    found = int(known.notna().sum())
    if not found:
        raise ValueError(
            f"{path} shares no spot with the prediction: the file has {labels.index[0]!r}, ..., the prediction "
            f"{names[0]!r}, ...; is it the same section, predicted at its own spots?"
        )
    if found < len(names):
        logger.warning("%s: %d of %d spots have no label", path.name, len(names) - found, len(names))
    return np.asarray(known.fillna(UNLABELED).astype(str), dtype=object)


def _placed(path: Path) -> pd.Series[Any]:
    # Rows without a place are spots that the authors did not keep.
    table = numbers(read_columns(path, PLACED).dropna(), ("x", "y"), path)
    return by_place(table, path)["label"]


def _places(adata: AnnData, path: Path) -> list[str]:
    if adata.uns.get("hist2st", {}).get("positions") == GRID:
        raise ValueError(
            f"{path} has labels by array place, but the prediction's spots are a grid of its own; predict at the "
            "section's spots (--spots)."
        )
    if missing := [column for column in ("array_col", "array_row") if column not in adata.obs]:
        raise ValueError(f"{path} has labels by array place, but the prediction has no obs[{missing[0]!r}].")
    places = adata.obs[["array_col", "array_row"]].astype(int)
    return [f"{column}x{row}" for column, row in places.to_numpy()]


def _named(path: Path, separator: str) -> pd.Series[Any]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, sep=separator, encoding="utf-8-sig")
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise ValueError(f"{path} cannot be read: {error}. Labels are read from {FORMATS}.") from error
    columns = [str(column) for column in table.columns]
    if "label" not in columns[1:] and len(columns) != 2:
        raise ValueError(f"{path} has the columns {', '.join(columns)}; labels are read from {FORMATS}.")
    labels = table.set_index(columns[0])["label" if "label" in columns[1:] else columns[1]]
    if labels.index.has_duplicates:
        raise ValueError(f"{path}: spot {labels.index[labels.index.duplicated()][0]!r} is there more than once.")
    if labels.empty:
        raise ValueError(f"{path} has a header and no spots.")
    return labels
