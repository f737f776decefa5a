"""Sections that are AnnData files (``.h5ad``), each with its image beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hist2st_pyg.image import images_in
from hist2st_pyg.io.anndata import (
    PATIENT,
    first,
    patient_of,
    positive,
    read_adata,
    set_places,
    visium_diameter,
)
from hist2st_pyg.io.labels import LABEL, label_by_column
from hist2st_pyg.io.names import select_names
from hist2st_pyg.io.sidecars import check_patients
from hist2st_pyg.patients import Patients, with_patients
from hist2st_pyg.section import Section
from hist2st_pyg.utils.json_files import read_json_object

logger = logging.getLogger(__name__)

SECTION_FILE = "section.h5ad"


def load(
    root: str | Path,
    names: Sequence[str] | None = None,
    *,
    image: str | Path | None = None,
    patients: Patients | None = None,
    patient_key: str = PATIENT,
    label_key: str = LABEL,
    counts_layer: str | None = None,
    um_per_pixel: float | None = None,
    spot_diameter: float | None = None,
) -> list[Section]:
    """Read sections from one file, or from a folder of ``<name>.h5ad`` files or ``<name>/section.h5ad`` folders.

    The image is ``<name>.jpg`` (or another supported format) beside ``<name>.h5ad``, or the one image in the folder of
    ``section.h5ad``. Spots without ``obs["array_col"]`` and ``obs["array_row"]`` get places from their positions.

    Args:
        root: The file or folder.
        names: The sections wanted, all when None. A ``section.h5ad`` is named by its folder.
        image: The image's path, for a single section whose image is elsewhere.
        patients: Section name -> patient. When None, the file names it (``patient_key``), or it is unknown;
            ``"each_section"`` declares each section whose file does not name it a separate patient.
        patient_key: The patient in the file: a key of ``uns``, or a column of ``obs`` with one value.
        label_key: The column of ``obs`` with each spot's region.
        counts_layer: The layer that holds the raw counts, if ``X`` does not.
        um_per_pixel: Resolution of the images; None reads ``provenance.json`` beside ``section.h5ad``, if there is one.
        spot_diameter: Diameter of the spots in pixels; None reads the file's Visium scale factors or
            ``provenance.json``, if there are any.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ValueError: If a section is unknown, a file is malformed, or it lacks a given key or layer.
    """
    sources = {source.name: source for source in _sources(Path(root))}
    chosen = select_names(names, sources, f"Data set 'anndata' in {root}")
    if image is not None and len(chosen) != 1:
        raise ValueError(f"image is for a single section, got {len(chosen)} sections: {', '.join(chosen)}.")
    check_patients(patients, chosen, sources)
    sections = []
    for name in chosen:
        source = sources[name]
        adata = read_adata(source.path, counts_layer)
        set_places(adata, source.path)
        label_by_column(adata, source.path, label_key)
        sections.append(
            Section(
                name=name,
                patient=patient_of(adata, source.path, patient_key),
                adata=adata,
                image=image if image is not None else source.image(),
                spot_diameter=first(
                    spot_diameter, visium_diameter(adata, source.path), source.stated("spot_diameter_px")
                ),
                um_per_pixel=first(um_per_pixel, source.stated("um_per_px")),
                patient_source="dataset",
            )
        )
    return with_patients(sections, patients)


def is_dataset(root: Path) -> bool:
    """Whether this is an .h5ad file, or a folder of <name>.h5ad files or <name>/section.h5ad."""
    if root.is_file():
        return root.suffix == ".h5ad"
    return any(any(root.glob(pattern)) for pattern in ("[!.]*.h5ad", f"[!.]*/{SECTION_FILE}"))


@dataclass(frozen=True)
class _Source:
    """One ``.h5ad`` file and the files beside it."""

    path: Path

    @property
    def in_own_folder(self) -> bool:
        return self.path.name == SECTION_FILE

    @property
    def name(self) -> str:
        return self.path.absolute().parent.name if self.in_own_folder else self.path.stem

    def image(self) -> Path | None:
        images = images_in(self.path.parent, None if self.in_own_folder else self.path.stem)
        if len(images) > 1:
            listed = ", ".join(path.name for path in images)
            raise ValueError(f"{self.path} has {len(images)} images beside it ({listed}); set image=...")
        return images[0] if images else None

    def stated(self, key: str) -> float | None:
        """A positive number of ``provenance.json``; None if unknown."""
        path = self.path.with_name("provenance.json")
        return positive(self._provenance(path), key, f"{path}: {key}")

    def _provenance(self, path: Path) -> dict[str, Any]:
        if not self.in_own_folder or not path.is_file():
            return {}
        return read_json_object(path)


def _sources(root: Path) -> list[_Source]:
    if root.is_file():
        if root.suffix != ".h5ad":
            raise ValueError(f"{root} is not an .h5ad file.")
        return [_Source(root)]
    if not root.is_dir():
        raise FileNotFoundError(f"There is no file or folder {root}.")
    if (root / SECTION_FILE).is_file():
        return [_Source(root / SECTION_FILE)]
    paths = sorted([*root.glob("[!.]*.h5ad"), *root.glob(f"[!.]*/{SECTION_FILE}")])
    sources = [_Source(path) for path in paths]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{root} holds both {twice[0]}.h5ad and {twice[0]}/{SECTION_FILE}; keep one of the two.")
    return sources
