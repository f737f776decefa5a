"""Select the elements of a SpatialData store, and read the spots of a table with their positions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.utils.json_files import read_json
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.reading import reading

if TYPE_CHECKING:
    from anndata import AnnData
    from geopandas import GeoDataFrame
    from spatialdata import SpatialData

ATTRIBUTES = "spatialdata_attrs"
"""The attribute that marks a folder as SpatialData, and a table as one that annotates elements."""


def is_store(path: Path) -> bool:
    """Whether a folder is a SpatialData store, by its attributes (zarr's format 3 or 2)."""
    for name in ("zarr.json", ".zattrs"):
        try:
            content = read_json(path / name, strict=False)
        except (OSError, ValueError):  # missing, unreadable, or not JSON
            continue
        marks = content.get("attributes", content).get(ATTRIBUTES, {}) if isinstance(content, dict) else {}
        # Elements are marked as well, without the software that wrote the store.
        if "spatialdata_software_version" in marks:
            return True
    return False


def require_spatialdata(path: Path) -> None:
    """Check that spatialdata is installed, to read or write a store.

    Raises:
        ImportError: If the ``spatialdata`` extra is not installed.
    """
    with require_extra(path.name, "spatialdata", "spatialdata"):
        import spatialdata  # noqa: F401


def open_store(path: Path) -> SpatialData:
    """Open a store: spots and tables are read, images stay where they are.

    Raises:
        ImportError: If the ``spatialdata`` extra is not installed.
        ValueError: If it cannot be read.
    """
    require_spatialdata(path)
    from spatialdata import read_zarr

    with reading(path, "a SpatialData store"):
        return read_zarr(path, selection=("images", "shapes", "tables"))


def only(given: str | None, there: Iterable[str], path: Path, kind: str, option: str) -> str:
    """Return the named element, or the only one of its kind.

    Args:
        given: The key that was given, or None.
        there: The keys of the possible elements.
        path: The store's folder, for errors.
        kind: What it is, for errors.
        option: The option that names it.

    Raises:
        ValueError: If the key is unknown, or none is given and there is not exactly one; the message lists the keys.
    """
    keys = sorted(there)
    listed = ", ".join(keys) or "none"
    if given is not None:
        if given not in keys:
            raise ValueError(f"{path}: {option}={given!r} is no {kind}; there is {listed}.")
        return given
    if not keys:
        raise ValueError(f"{path}: there is no {kind}.")
    if len(keys) > 1:
        raise ValueError(f"{path}: there is more than one {kind} ({listed}); set {option}=...")
    return keys[0]


def annotated_spots(store: SpatialData, table: str) -> list[str]:
    """Keys of the shapes that a table annotates."""
    adata = store.tables[table]
    return [key for key in store.get_annotated_regions(adata) if key in store.shapes] if ATTRIBUTES in adata.uns else []


def table_rows(store: SpatialData, table: str, shapes: str, path: Path) -> tuple[AnnData, NDArray[Any]]:
    """The rows of a table that annotate certain shapes, and each row's instance in their index.

    Raises:
        ValueError: If an instance is missing or occurs more than once.
    """
    from spatialdata.models import get_table_keys

    adata, index = store.tables[table], store.shapes[shapes].index
    _, region_key, instance_key = get_table_keys(adata)
    rows = adata[(adata.obs[region_key] == shapes).to_numpy()].copy()
    instances = rows.obs[instance_key].to_numpy()
    missing = instances[~rows.obs[instance_key].isin(index).to_numpy()]
    for wrong, problem in ((missing, "no"), (index[index.duplicated()], "more than one")):
        if len(wrong):
            raise ValueError(
                f"{path}: table {table!r} annotates {shapes!r}, which has {problem} spot {str(wrong[0])!r}."
            )
    return rows, instances


def in_pixels(
    store: SpatialData, shapes: str, image: str | None, coordinate_system: str | None, path: Path
) -> GeoDataFrame:
    """Positions and radii of spots in full-resolution pixels of an image.

    Args:
        store: The store.
        shapes: Key of the spots.
        image: Key of the image; None leaves the spots in the coordinate system.
        coordinate_system: The one to use; None takes "global" if both have it, else the only one that both have.
        path: The store's folder, for errors.

    Raises:
        ValueError: If they do not share it, or none is named and they share none or several.
    """
    from spatialdata import transform
    from spatialdata.transformations import Sequence, get_transformation, set_transformation

    spots = store.shapes[shapes].copy()
    there = get_transformation(spots, get_all=True)
    back = there if image is None else get_transformation(store.images[image], get_all=True)
    shared = set(there) & set(back)
    if coordinate_system is None and "global" in shared:
        coordinate_system = "global"
    kind = f"coordinate system of {shapes!r}" + (f" and {image!r}" if image is not None else "")
    system = only(coordinate_system, shared, path, kind, "coordinate_system")
    steps = [there[system]] if image is None else [there[system], back[system].inverse()]
    set_transformation(spots, {"pixels": Sequence(steps)}, set_all=True)
    return transform(spots, to_coordinate_system="pixels")


def centers(spots: GeoDataFrame) -> NDArray[np.float64]:
    """Centers of circles or centroids of polygons, float [N, 2] (x, y)."""
    centroids = spots.geometry.centroid
    # Rounding of the two transformations must not turn a whole number into the pixel before it.
    return np.column_stack([centroids.x, centroids.y]).round(6)
