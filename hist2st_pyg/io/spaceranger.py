"""Read the outputs of 10x Genomics' Space Ranger: folders, scale factors and positions, joined to the counts.

``scanpy.read_visium`` and ``squidpy.read.visium`` read the same files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hist2st_pyg.image import FORMATS
from hist2st_pyg.io.anndata import keep_inside
from hist2st_pyg.io.columns import flags, integers, line_in, numbers
from hist2st_pyg.io.labels import LABEL, read_labels
from hist2st_pyg.io.names import select_names
from hist2st_pyg.io.sidecars import Files, check_patients, given_files
from hist2st_pyg.io.tables import name_column, read_table, require_columns
from hist2st_pyg.patients import Patients, with_patients
from hist2st_pyg.section import Section
from hist2st_pyg.utils.bounds import is_positive
from hist2st_pyg.utils.json_files import read_json_object

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

logger = logging.getLogger(__name__)

SCALE_FACTORS = "spatial/scalefactors_json.json"
HIRES = "hires"
HIRES_IMAGE = "spatial/tissue_hires_image.png"
POSITIONS = ("barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres")
"""Columns of the positions' file, in its order: rows, which count along y, come before columns."""
POSITION_FILES = (
    "spatial/tissue_positions.csv",
    "spatial/tissue_positions_list.csv",
    "spatial/tissue_positions.parquet",
)
"""Files of the spots' positions: of Space Ranger 2 and later, of earlier ones (without header), and of Visium HD."""
OUTS = "outs"
BINNED = "binned_outputs"


def section_folders(root: Path, is_section: Callable[[Path], bool]) -> dict[str, Path]:
    """Find the outputs in a folder: itself, its ``outs``, or those of the folders in it; each is one section.

    Args:
        root: The folder.
        is_section: Whether a folder is an output.

    Returns:
        Section name -> folder. A section has the name of its folder, or of the parent of a folder ``outs``.
    """
    if own := [folder for folder in (root, root / OUTS) if is_section(folder)]:
        return {_name(own[0]): own[0]}
    children = [path for path in sorted(root.glob("[!.]*")) if path.is_dir()]
    found = [folder for child in children for folder in (child / OUTS, child) if is_section(folder)]
    return {_name(folder): folder for folder in found}


def _name(folder: Path) -> str:
    folder = folder.absolute()
    return folder.parent.name if folder.name == OUTS else folder.name


def read_scale_factors(folder: Path, *needed: str) -> dict[str, Any]:
    """Read the scale factors of an output.

    Args:
        folder: The output.
        needed: Keys that must exist and be positive.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or a key is missing or not positive.
    """
    path = folder / SCALE_FACTORS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no scale factors: there is no {SCALE_FACTORS}.")
    scales = read_json_object(path)
    for key in needed:
        value = scales.get(key)
        if not is_positive(value):
            raise ValueError(f"{path}: {key} must be a positive number, got {value!r}.")
    return scales


def positions_of(folder: Path) -> Path | None:
    """The positions' file of an output; None if there is none."""
    return next((folder / name for name in POSITION_FILES if (folder / name).is_file()), None)


def read_positions(folder: Path) -> tuple[pd.DataFrame, Path]:
    """Read the spots' positions of an output, from any of :data:`POSITION_FILES`, and return their file too.

    Args:
        folder: The output.

    Returns:
        The columns of :data:`POSITIONS`, with the barcode as index, and their file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, lacks a column, or a value is not a number.
    """
    path = positions_of(folder)
    if path is None:
        raise FileNotFoundError(f"{folder} has no positions: there is neither {' nor '.join(POSITION_FILES)}.")
    return check_positions(read_table(path, headerless=POSITIONS), path).set_index(POSITIONS[0]), path


def check_positions(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table of positions with text for barcodes, bool for ``in_tissue``, and numbers in the other columns.

    Raises:
        ValueError: If a column is missing or a value is not a number; the message names the file, line and value.
    """
    table = name_column(table, POSITIONS[0])
    require_columns(table, POSITIONS, path)
    codes = table[POSITIONS[0]].astype(object).fillna("")
    barcodes = [code.decode() if isinstance(code, bytes) else str(code) for code in codes]
    if "" in barcodes:
        raise ValueError(f"{line_in(table, path)(barcodes.index(''))}: the spot has no barcode.")
    inside = flags(table[POSITIONS[1]], line_in(table, path))
    table = table.assign(barcode=barcodes, in_tissue=inside)
    return numbers(integers(table, POSITIONS[2:4], path), POSITIONS[4:], path)


def join(counts: AnnData, matrix: Path, positions: pd.DataFrame, path: Path, name: str) -> AnnData:
    """Join counts and positions; spots that are not in the tissue are dropped, and the log counts them.

    Args:
        counts: The counts.
        matrix: Their file, for errors.
        positions: The positions, as :func:`read_positions` gives them.
        path: Their file, for errors.
        name: The section's name, for the log.

    Raises:
        ValueError: If a barcode has no position or two, or no spot is in the tissue.
    """
    if positions.index.has_duplicates:
        twice = positions.index[positions.index.duplicated()][0]
        raise ValueError(f"{path}: the barcode {twice!r} occurs more than once.")
    rows = positions.index.get_indexer(counts.obs_names)
    if (rows < 0).any():
        raise ValueError(
            f"{path} lacks {int((rows < 0).sum())} of the {len(rows)} barcodes of {matrix}, for example "
            f"{str(counts.obs_names[rows < 0][0])!r}; check that both are of the same section."
        )
    inside = positions["in_tissue"].to_numpy()[rows]
    if not inside.any():
        raise ValueError(f"{path}: none of the {len(rows)} spots with counts is in the tissue (in_tissue is 1).")
    if not inside.all():
        counts = counts[keep_inside(inside, name)].copy()
    placed = positions.iloc[rows[inside]]
    for column in POSITIONS[1:4]:
        counts.obs[column] = placed[column].to_numpy(dtype=np.int64)
    # x is the column, y the row.
    counts.obsm["spatial"] = placed[[POSITIONS[5], POSITIONS[4]]].to_numpy(dtype=np.float64)
    return counts


@dataclass(frozen=True)
class Output:
    """One section as Space Ranger wrote it.

    Args:
        folder: Its folder, for the hires image.
        adata: Counts of its spots, and their positions in full-resolution pixels.
        scales: Its scale factors.
        um_per_pixel: Resolution of the full-resolution image in µm per pixel, where known.
    """

    folder: Path
    adata: AnnData
    scales: Mapping[str, Any]
    um_per_pixel: float | None

    def section(self, name: str, image: Path | None, *, hires: bool) -> Section:
        """Make the section, in pixels of the full-resolution image or of the hires image.

        Args:
            name: The section's name.
            image: The full-resolution image, or None.
            hires: Use the hires image instead, and scale all lengths in pixels to it.

        Raises:
            FileNotFoundError: If there is no image.
        """
        scales, ratio = dict(self.scales), 1.0
        if hires:
            image, ratio = self.folder / HIRES_IMAGE, float(scales[f"tissue_{HIRES}_scalef"])
            logger.info("%s: positions are pixels of its hires image, %.4g of full resolution", name, ratio)
            numeric = {key: value for key, value in scales.items() if isinstance(value, int | float)}
            in_pixels = {key: value * ratio for key, value in numeric.items() if key.endswith("_fullres")}
            in_pixels |= {key: value / ratio for key, value in numeric.items() if key.endswith(("_scalef", "_pixel"))}
            scales |= in_pixels
        self.adata.obsm["spatial"] = self.adata.obsm["spatial"] * ratio
        # The layout of scanpy and squidpy, without the images, which are opened when they are needed.
        self.adata.uns["spatial"] = {name: {"images": {}, "scalefactors": scales, "metadata": {}}}
        return Section(
            name=name,
            patient=None,
            adata=self.adata,
            image=image,
            spot_diameter=float(scales["spot_diameter_fullres"]),
            um_per_pixel=None if self.um_per_pixel is None else self.um_per_pixel / ratio,
        )


def read_sections(
    folders: Mapping[str, Path],
    names: Sequence[str] | None,
    where: str,
    read: Callable[[Path, str], Output],
    *,
    image: Files | None,
    patients: Patients | None,
    labels: Files | None,
    label_key: str | None,
) -> list[Section]:
    """Read outputs as sections, with the user's images and labels; see :func:`hist2st_pyg.datasets.visium.load`.

    Args:
        folders: Section name -> folder.
        names: The sections wanted, all when None.
        where: The data set and its folder, for errors.
        read: Reads one folder, given the section's name.
        image: The images, or ``"hires"``.
        patients: The patients.
        labels: The labels.
        label_key: Their column.
    """
    names = select_names(names, folders, where)
    check_patients(patients, names, folders)
    # Report missing files before anything is read.
    images = {} if image is None or image == HIRES else given_files(image, names, "image", FORMATS)
    tables = {} if labels is None else given_files(labels, names, "labels", [".csv"])
    sections = []
    for name in names:
        output = read(folders[name], name)
        if name in tables:
            output.adata.obs[LABEL] = read_labels(tables[name], output.adata, label_key)
        sections.append(output.section(name, images.get(name), hires=image == HIRES))
    return with_patients(sections, patients)
