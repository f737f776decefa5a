"""Visium sections as 10x Genomics' Space Ranger 1 to 4 writes them: ``outs`` folders, or a folder of such folders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.io.sidecars import Files
from hist2st_pyg.io.spaceranger import (
    BINNED,
    HIRES,
    POSITIONS,
    Output,
    join,
    positions_of,
    read_positions,
    read_scale_factors,
    read_sections,
    section_folders,
)
from hist2st_pyg.io.tenx_matrix import MATRIX, matrix_of, read_counts
from hist2st_pyg.patients import Patients
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    import pandas as pd

PITCH_UM = 100.0
"""Distance of neighboring spots, on slides of 6.5 and of 11 mm."""


def load(
    root: str | Path,
    names: Sequence[str] | None = None,
    *,
    image: Files | None = None,
    patients: Patients | None = None,
    labels: Files | None = None,
    label_key: str | None = None,
    um_per_pixel: float | None = None,
) -> list[Section]:
    """Read sections: genes' counts, and positions x, y in pixels of the full-resolution image.

    Space Ranger does not write that image: it is its input (``--image``). Spots that are not in the tissue are dropped.
    Genes that share a symbol are numbered, see :func:`~hist2st_pyg.io.tenx_matrix.read_counts`.

    Args:
        root: The folder with ``filtered_feature_bc_matrix.h5`` (or a folder of that name) and ``spatial``, one that
            holds it as ``outs``, or a folder of such folders.
        names: The sections wanted, all when None. A section has the name of its folder, or of the parent of ``outs``.
        image: The full-resolution image: one file for a single section, section name -> file, or a folder of
            ``<section>.<ending>``. ``"hires"`` takes Space Ranger's small copy (2,000 to 6,000 pixels), to which
            positions and diameters are scaled; it hardly shows cells. When None, sections have no image.
        patients: Section name -> patient, or ``"each_section"``, which declares each section a separate patient. When
            None, they are not known.
        labels: CSV files of barcode and label, as Loupe Browser exports them, given like ``image``.
        label_key: The column of the labels, if there are several.
        um_per_pixel: Resolution of the full-resolution image; None computes it from the positions: neighboring spots
            are 100 µm apart.

    Raises:
        FileNotFoundError: If a folder or file is missing; the message names it.
        ValueError: If a section is unknown, a file is malformed, or an option does not fit.
    """
    return read_sections(
        _folders(Path(root)),
        names,
        f"Data set 'visium' in {root}",
        partial(_read, um_per_pixel=um_per_pixel),
        image=image,
        patients=patients,
        labels=labels,
        label_key=label_key,
    )


def is_dataset(root: Path) -> bool:
    """Whether this is a folder with filtered_feature_bc_matrix and spatial/tissue_positions*, or of such ones."""
    return any(section_folders(root, _is_complete))


def _is_complete(folder: Path) -> bool:
    has_matrix = any(folder.glob(f"*{MATRIX}.h5")) or (folder / MATRIX).is_dir()
    return has_matrix and positions_of(folder) is not None


def _is_output(folder: Path) -> bool:
    """Whether a folder is an output, complete or not; a later error says what an incomplete one lacks."""
    return any((folder / name).is_dir() for name in ("spatial", BINNED)) or matrix_of(folder) is not None


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}.")
    if folders := section_folders(root, _is_output):
        return folders
    raise FileNotFoundError(
        f"{root} is not an output of Space Ranger and holds none: there is no {MATRIX}.h5 and no folder spatial in it, "
        "in its outs, or in its folders. Give the outs folder of a section, or a folder of such folders."
    )


def _read(folder: Path, name: str, um_per_pixel: float | None) -> Output:
    if (folder / BINNED).is_dir() and positions_of(folder) is None:
        raise ValueError(f"{folder} is of Visium HD ({BINNED}); read it with the data set 'visium_hd'.")
    counts, matrix = read_counts(folder)
    positions, path = read_positions(folder)
    scales = read_scale_factors(folder, "spot_diameter_fullres", f"tissue_{HIRES}_scalef")
    if "bin_size_um" in scales:
        raise ValueError(f"{folder} has bins of Visium HD; read the parent of {BINNED} with 'visium_hd'.")
    adata = join(counts, matrix, positions, path, name)
    return Output(folder, adata, scales, _resolution(positions) if um_per_pixel is None else um_per_pixel)


def _resolution(positions: pd.DataFrame) -> float | None:
    """Estimate µm per pixel from the spots' positions and array places; None if too few spots determine it.

    The scale factors' diameter is unsuitable: spots are 55 µm wide, and Space Ranger counts 65 µm.
    """
    values = positions[list(POSITIONS[2:])].to_numpy(dtype=np.float64)
    places = np.column_stack([np.ones(len(values)), values[:, :2]])
    solution, _, rank, _ = np.linalg.lstsq(places, values[:, 2:], rcond=None)
    # Neighbors in a row are two columns apart; the rows beside it have the columns between.
    pitch = 2 * float(np.linalg.norm(solution[2]))
    return PITCH_UM / pitch if rank == 3 and pitch > 0 else None
