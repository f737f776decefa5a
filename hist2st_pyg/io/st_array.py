"""A section measured on a Spatial Transcriptomics array: a table of counts and a table of spots, joined by place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.io.columns import flags, line_in, numbers
from hist2st_pyg.io.labels import labels_by_place
from hist2st_pyg.io.tables import UNLABELED, by_place, read_counts, read_table, require_columns
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PITCH_UM = 200.0
SPOT_UM = 100.0
COLUMNS = ("x", "y", "pixel_x", "pixel_y")
SELECTED = "selected"


def read_array_section(
    name: str,
    patient: str,
    counts_path: Path,
    spots_path: Path,
    image: Path | None,
    *,
    dataset: str,
    labels_path: Path | None = None,
    whole_array: bool = False,
) -> Section:
    """Read a section, without the spots that lack counts or are not selected (not under tissue); the log counts them.

    Args:
        name: The section's name.
        patient: Its patient.
        counts_path: Counts, spots x genes, whose first column is the place, ``COLxROW``.
        spots_path: Columns ``x, y`` (place), ``pixel_x, pixel_y`` and ``selected``.
        image: The image's path, or None.
        dataset: The data set's key, for the log.
        labels_path: Columns ``x, y, label``; None without labels.
        whole_array: The counts are those of the whole array and the spot file may list the selected spots only: the
            column ``selected`` is optional, and counts without a spot are expected.

    Raises:
        FileNotFoundError: If a table is missing.
        ValueError: If a table is malformed, or the two share no selected spot; the message names the file.
    """
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    counts = read_counts(counts_path)
    table = read_table(spots_path)
    require_columns(table, COLUMNS if whole_array else (*COLUMNS, SELECTED), spots_path)
    spots = by_place(numbers(table, COLUMNS, spots_path), spots_path)
    selected = spots.index[flags(table[SELECTED], line_in(table, spots_path))] if SELECTED in table else spots.index
    kept = counts.index[counts.index.isin(selected)]
    if kept.empty:
        raise ValueError(
            f"{counts_path} and {spots_path} share no selected spot; check that both are of the same section."
        )
    _log_dropped(f"{dataset} {name}", counts.index, spots.index, selected, whole_array)

    obs = spots.loc[kept, ["x", "y"]].set_axis(["array_col", "array_row"], axis="columns")
    if labels_path is not None:
        label = labels_by_place(labels_path).reindex(kept)
        if label.isna().any():
            logger.info("%s %s: %d spots are not in %s", dataset, name, label.isna().sum(), labels_path.name)
        obs["label"] = label.fillna(UNLABELED).astype(str)
    um_per_pixel = _um_per_pixel(spots)
    return Section(
        name=name,
        patient=patient,
        patient_source="dataset",
        adata=AnnData(
            csr_matrix(counts.loc[kept].to_numpy(dtype=np.float32)),
            obs=obs,
            var=counts.columns.to_frame()[[]],
            obsm={"spatial": spots.loc[kept, ["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)},
        ),
        image=image,
        spot_diameter=None if um_per_pixel is None else SPOT_UM / um_per_pixel,
        um_per_pixel=um_per_pixel,
    )


def _log_dropped(
    what: str, counted: pd.Index[str], placed: pd.Index[str], selected: pd.Index[str], whole_array: bool
) -> None:
    dropped = {
        "not selected": len(placed) - len(selected),
        "selected but without counts": int((~selected.isin(counted)).sum()),
        "with counts but not in the spot file": int((~counted.isin(placed)).sum()),
    }
    number, total = sum(dropped.values()), len(placed.union(counted))
    if number:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        odd, of = (dropped["selected but without counts"], len(selected)) if whole_array else (number, total)
        level = logging.WARNING if odd > 0.1 * of else logging.INFO
        logger.log(level, "%s: %d of %d spots dropped: %s", what, number, total, reasons)


def _um_per_pixel(spots: pd.DataFrame) -> float | None:
    """The array's pitch over the median pixel distance of spots one step apart; None if no two are."""
    rows = spots[["x", "y", "pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    pixels = {(column, row): (x, y) for column, row, x, y in rows}
    steps = [
        np.subtract(pixels[neighbor], here)
        for (column, row), here in pixels.items()
        for neighbor in ((column + 1, row), (column, row + 1))
        if neighbor in pixels
    ]
    return PITCH_UM / float(np.median(np.linalg.norm(steps, axis=1))) if steps else None
