"""Visium HD sections as 10x Genomics' Space Ranger writes them: square bins (``binned_outputs``), used as spots."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hist2st_pyg.io.sidecars import Files
from hist2st_pyg.io.spaceranger import (
    BINNED,
    HIRES,
    Output,
    join,
    read_positions,
    read_scale_factors,
    read_sections,
    section_folders,
)
from hist2st_pyg.io.tenx_matrix import read_counts
from hist2st_pyg.patients import Patients
from hist2st_pyg.section import Section

BINS = "square_[0-9][0-9][0-9]um"


def load(
    root: str | Path,
    names: Sequence[str] | None = None,
    *,
    bin_um: int = 8,
    image: Files | None = None,
    patients: Patients | None = None,
    labels: Files | None = None,
    label_key: str | None = None,
    um_per_pixel: float | None = None,
) -> list[Section]:
    """Read sections of bins: genes' counts, and centers x, y in pixels of the full-resolution image.

    Args:
        root: The folder with ``binned_outputs``, one that holds it as ``outs``, or a folder of such folders.
        names: The sections wanted, all when None. A section has the name of its folder, or of the parent of ``outs``.
        bin_um: Side of the bins in µm: 2, 8, 16, or another that Space Ranger wrote. A section has millions of 2 µm
            bins.
        image: The full-resolution image, or ``"hires"``; see :func:`hist2st_pyg.datasets.visium.load`.
        patients: Section name -> patient, or ``"each_section"``, which declares each section a separate patient. When
            None, they are not known.
        labels: CSV files of barcode and label, as Loupe Browser exports them, given like ``image``.
        label_key: The column of the labels, if there are several.
        um_per_pixel: Resolution of the full-resolution image; None reads it from the scale factors.

    Raises:
        FileNotFoundError: If a folder or file is missing; the message names it.
        ValueError: If a section is unknown, a file is malformed, or an option does not fit.
    """
    return read_sections(
        _folders(Path(root)),
        names,
        f"Data set 'visium_hd' in {root}",
        partial(_read, bin_um=bin_um, um_per_pixel=um_per_pixel),
        image=image,
        patients=patients,
        labels=labels,
        label_key=label_key,
    )


def is_dataset(root: Path) -> bool:
    """Whether this is a folder with binned_outputs/square_008um (or other bins), or a folder of such folders."""
    return any(section_folders(root, lambda folder: any((folder / BINNED).glob(BINS))))


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}.")
    if folders := section_folders(root, lambda folder: (folder / BINNED).is_dir()):
        return folders
    raise FileNotFoundError(
        f"{root} is not an output of Space Ranger for Visium HD and holds none: there is no {BINNED} in it, in its "
        "outs, or in its folders. Read sections of spots with the data set 'visium'."
    )


def _bins(folder: Path, bin_um: int) -> Path:
    if not isinstance(bin_um, int) or bin_um < 1:
        raise ValueError(f"bin_um must be a whole number of µm, such as 8, got {bin_um!r}.")
    bins = folder / BINNED / f"square_{bin_um:03d}um"
    if not bins.is_dir():
        there = ", ".join(path.name for path in sorted((folder / BINNED).glob(BINS))) or "none"
        raise FileNotFoundError(f"There is no {bins} for bin_um={bin_um}; {BINNED} has {there}.")
    return bins


def _read(section: Path, name: str, bin_um: int, um_per_pixel: float | None) -> Output:
    folder = _bins(section, bin_um)
    counts, matrix = read_counts(folder)
    positions, path = read_positions(folder)
    scales = read_scale_factors(folder, "spot_diameter_fullres", f"tissue_{HIRES}_scalef", "microns_per_pixel")
    adata = join(counts, matrix, positions, path, name)
    return Output(folder, adata, scales, float(scales["microns_per_pixel"]) if um_per_pixel is None else um_per_pixel)
