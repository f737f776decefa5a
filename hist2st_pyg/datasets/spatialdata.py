"""Sections that are SpatialData stores (Marconato et al. 2024): image, spots and table in one ``.zarr`` folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hist2st_pyg.image.spatialdata import StoreImage
from hist2st_pyg.io.anndata import PATIENT, in_tissue, patient_of, set_places
from hist2st_pyg.io.labels import LABEL, label_by_column
from hist2st_pyg.io.names import select_names
from hist2st_pyg.io.raw_counts import with_counts
from hist2st_pyg.io.sidecars import check_patients
from hist2st_pyg.io.spatialdata import annotated_spots, centers, in_pixels, is_store, only, open_store, table_rows
from hist2st_pyg.patients import Patients, with_patients
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    from spatialdata import SpatialData

PREDICTION_KEY = "hist2st"
"""The key of a table's ``uns`` that marks it as a prediction, which holds no counts."""


def load(
    root: str | Path,
    names: Sequence[str] | None = None,
    *,
    image: str | None = None,
    shapes: str | None = None,
    table: str | None = None,
    coordinate_system: str | None = None,
    patients: Patients | None = None,
    patient_key: str = PATIENT,
    label_key: str = LABEL,
    counts_layer: str | None = None,
    um_per_pixel: float | None = None,
) -> list[Section]:
    """Read sections from one store, or from a folder of ``<name>.zarr`` stores; each store is one section.

    Positions are transformed to pixels of the image through the coordinate system that spots and image share; without
    an image they stay in the coordinate system. An element that is not named must be the only one of its kind. Spots
    without ``obs["array_col"]`` and ``obs["array_row"]`` get places from their positions.

    Args:
        root: The store or folder.
        names: The sections wanted, all when None; a store is named by its folder, without ``.zarr``.
        image: Key of the image: 8-bit RGB, of one or several scales. It is read by regions, when it is needed.
        shapes: Key of the spots: circles, or polygons, whose centroids are used.
        table: Key of the table that annotates the spots and holds their raw counts; predictions are skipped.
        coordinate_system: The one to use; None takes "global" if spots and image have it, else the only one both have.
        patients: Section name -> patient. When None, the table names it (``patient_key``), or it is unknown;
            ``"each_section"`` declares each section whose table does not name it a separate patient.
        patient_key: The patient in the table: a key of ``uns``, or a column of ``obs`` with one value.
        label_key: The column of the table's ``obs`` with each spot's region.
        counts_layer: The table's layer that holds the raw counts, if ``X`` does not.
        um_per_pixel: Resolution of the images in µm per pixel, where known.

    Raises:
        FileNotFoundError: If the store or folder does not exist.
        ImportError: If the ``spatialdata`` extra is not installed.
        ValueError: If a section is unknown, an element is missing or not the only one, or a store is malformed.
    """
    stores = {path.name.removesuffix(".zarr"): path for path in _stores(Path(root))}
    chosen = select_names(names, stores, f"Data set 'spatialdata' in {root}")
    check_patients(patients, chosen, stores)
    sections = []
    for name in chosen:
        path = stores[name]
        store = open_store(path)
        image_key = only(image, store.images, path, "image", "image") if image or store.images else None
        table_key, spots_key = _counts_of_spots(store, table, shapes, path)
        adata, instances = table_rows(store, table_key, spots_key, path)
        spots = in_pixels(store, spots_key, image_key, coordinate_system, path).loc[instances]
        adata.obsm["spatial"] = centers(spots)
        adata = with_counts(in_tissue(adata, path), counts_layer, f"{path}: the table")
        set_places(adata, path)
        label_by_column(adata, path, label_key)
        sections.append(
            Section(
                name=name,
                patient=patient_of(adata, path, patient_key),
                adata=adata,
                image=None if image_key is None else StoreImage(path, image_key),
                # Polygons have no diameter.
                spot_diameter=2 * float(spots["radius"].median()) if "radius" in spots else None,
                um_per_pixel=um_per_pixel,
                patient_source="dataset",
            )
        )
    return with_patients(sections, patients)


def is_dataset(root: Path) -> bool:
    """Whether this is a SpatialData store or a folder of them."""
    return is_store(root) or any(is_store(path) for path in root.glob("[!.]*.zarr"))


def _stores(root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"There is no store or folder {root}.")
    # A store of an earlier version has no mark and is recognized by its name.
    own = root.suffix == ".zarr" or is_store(root)
    return [root] if own else list(root.glob("[!.]*.zarr"))


def _counts_of_spots(store: SpatialData, table: str | None, shapes: str | None, path: Path) -> tuple[str, str]:
    """The keys of the table of counts and of the spots that it annotates."""
    if shapes is not None:
        only(shapes, store.shapes, path, "element of shapes", "shapes")
    counts = [key for key, adata in store.tables.items() if key == table or PREDICTION_KEY not in adata.uns]
    annotated = {key: spots for key in counts if (spots := annotated_spots(store, key))}
    if table is None and shapes is not None:
        annotated = {key: spots for key, spots in annotated.items() if shapes in spots}
    table = only(table, annotated, path, f"table of counts that annotates {shapes or 'shapes'}", "table")
    return table, only(shapes, annotated[table], path, f"element of shapes that table {table!r} annotates", "shapes")
