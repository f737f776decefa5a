"""Predictions in SpatialData stores (Marconato et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.datasets.spatialdata import PREDICTION_KEY
from hist2st_pyg.io.spatialdata import (
    ATTRIBUTES,
    annotated_spots,
    centers,
    in_pixels,
    is_store,
    only,
    open_store,
    require_spatialdata,
    table_rows,
)
from hist2st_pyg.utils.array_places import spot_pitch
from hist2st_pyg.utils.quiet import without_warnings
from hist2st_pyg.utils.staging import locked, move_in, staged
from hist2st_pyg.utils.writable import check_folder

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

TABLE, SPOTS, THUMBNAIL = "hist2st", "spots", "thumbnail"
"""The default names of the elements of a new store."""

REGION, INSTANCE = "spatialdata_region", "spatialdata_instance"
"""The columns of ``obs`` with the element and the spot that a row of the table annotates."""

TOLERANCE_PIXELS = 0.5
"""Largest distance of a spot from its position in the store, in pixels."""


@without_warnings(r"zarr v3 autosharding")
def write_spatialdata(
    adata: AnnData,
    path: str | Path,
    *,
    table: str = TABLE,
    shapes: str | None = None,
    image: str | None = None,
    coordinate_system: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a prediction as a SpatialData store, or into the store that its section came from.

    In an existing store at ``path``, only a table that annotates its spots is added. A new store has the spots as
    circles, the thumbnail as an image, both in pixels of the full-resolution image ("global"), and the table.

    Args:
        adata: A prediction, as :func:`~hist2st_pyg.predict` returns it.
        path: The store, a folder; ``.zarr`` by convention.
        table: Key of the table.
        shapes: Key of the spots. In an existing store, None selects the only shapes with the prediction's spots.
        image: Key of the thumbnail; in an existing store, of the predicted image, or None if it has only one.
        coordinate_system: The coordinate system of spots and image in an existing store, as in
            :func:`hist2st_pyg.datasets.spatialdata.load`.
        overwrite: Replace a prediction of the same key.

    Raises:
        ImportError: If the ``spatialdata`` extra is not installed.
        ValueError: If ``path`` is not a store, the table exists, or the store lacks these spots at these positions.
    """
    path = Path(path)
    if PREDICTION_KEY not in adata.uns:
        raise ValueError(f"adata must be a prediction, but uns lacks {PREDICTION_KEY!r}, which predict writes.")
    check_store(path, table, overwrite)
    if is_store(path):
        with locked(path):
            _add_table(adata, path, table, shapes, image, coordinate_system, overwrite)
        return
    store = _new_store(adata, table, shapes or SPOTS, image or THUMBNAIL)
    with staged(path) as folder:
        store.write(folder / path.name)
        move_in(folder / path.name, path, replace=False)


def check_store(path: Path, table: str = TABLE, overwrite: bool = False) -> None:
    """Check before a prediction that its table can be written to a store, new or existing.

    Raises:
        ImportError: If the ``spatialdata`` extra is not installed.
        OSError: If the store cannot be written.
        ValueError: If the path is not a store, or has a table that must not be replaced.
    """
    require_spatialdata(path)
    if is_store(path):
        _check_key(open_store(path), path, table, overwrite)
    elif path.exists():
        raise ValueError(f"{path} exists and is not a SpatialData store; it will not be replaced.")
    check_folder(path, "--output")


def _new_store(adata: AnnData, table: str, shapes: str, image: str) -> SpatialData:
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel
    from spatialdata.transformations import Identity, Scale

    libraries = list(adata.uns.get("spatial", {}).values())
    if len(libraries) > 1:
        raise ValueError(
            f"The prediction must be of one image, got {len(libraries)} ({', '.join(adata.uns['spatial'])})."
        )
    pos, scales = np.asarray(adata.obsm["spatial"], dtype=np.float64), {}
    images = {}
    if libraries:
        scales = libraries[0]["scalefactors"]
        factor = 1 / scales["tissue_hires_scalef"]
        images[image] = Image2DModel.parse(
            np.asarray(libraries[0]["images"]["hires"]),
            dims=("y", "x", "c"),
            c_coords=["r", "g", "b"],
            transformations={"global": Scale([factor, factor], axes=("x", "y"))},
        )
    diameter = scales.get("spot_diameter_fullres", spot_pitch(pos) / 2)
    names = [str(name) for name in adata.obs_names]
    spots = ShapesModel.parse(pos, geometry=0, radius=diameter / 2, index=names, transformations={"global": Identity()})
    return SpatialData(images=images, shapes={shapes: spots}, tables={table: _table(adata, shapes, names)})


def _add_table(
    adata: AnnData,
    path: Path,
    table: str,
    shapes: str | None,
    image: str | None,
    coordinate_system: str | None,
    overwrite: bool,
) -> None:
    store = open_store(path)
    _check_key(store, path, table, overwrite)
    names = [str(name) for name in adata.obs_names]
    found = {key: spots for key in store.shapes if (spots := _instances(store, key, names, path)) is not None}
    if shapes is not None:
        only(shapes, store.shapes, path, "element of shapes", "shapes")
    kind = f"element of shapes with the prediction's {len(names)} spots"
    shapes = only(shapes, found, path, kind, "shapes")
    image = only(image, store.images, path, "image", "image") if image or store.images else None
    spots = in_pixels(store, shapes, image, coordinate_system, path).loc[found[shapes]]
    away = np.linalg.norm(centers(spots) - adata.obsm["spatial"], axis=1)
    if away.max() > TOLERANCE_PIXELS:
        raise ValueError(
            f"{path}: the prediction's spot {names[int(away.argmax())]!r} is {away.max():.1f} px from its position in "
            f"{shapes!r}; check that the prediction is of this section and of its image {image!r}."
        )
    _put(store, path, table, shapes, _table(adata, shapes, found[shapes]))


def _check_key(store: SpatialData, path: Path, table: str, overwrite: bool) -> None:
    """Raise if the key belongs to another element, ignoring case, or to a table that must not be replaced."""
    kinds = [path / kind for kind in ("images", "labels", "points", "shapes", "tables") if (path / kind).is_dir()]
    for other in (folder for kind in kinds for folder in kind.iterdir()):
        if other.name.casefold() == table.casefold() and other != path / "tables" / table:
            raise ValueError(f"{path} already has {other.relative_to(path)}; choose another name for the table.")
    if table in store.tables and PREDICTION_KEY not in store.tables[table].uns:
        raise ValueError(f"{path}: table {table!r} is not a prediction and will not be replaced; choose another name.")
    if table in store.tables and not overwrite:
        raise ValueError(f"{path} already has a table {table!r}; choose another name, or set overwrite=True.")


def _instances(store: SpatialData, shapes: str, names: list[str], path: Path) -> NDArray[Any] | None:
    """Map each spot to its name in the index of the shapes: from a table that annotates them, or the name itself."""
    import pandas as pd

    tables = [table_rows(store, key, shapes, path) for key in store.tables if shapes in annotated_spots(store, key)]
    index = store.shapes[shapes].index
    for rows, instances in [*((rows.obs_names, instances) for rows, instances in tables), (index, index.to_numpy())]:
        known = pd.Series(instances, index=rows.astype(str))
        if known.index.is_unique and pd.Index(names).isin(known.index).all():
            return known.loc[names].to_numpy()
    return None


def _table(adata: AnnData, shapes: str, instances: NDArray[Any] | list[str]) -> AnnData:
    """Convert the prediction to a table that annotates the spots."""
    import pandas as pd
    from spatialdata.models import TableModel

    result = adata.copy()
    result.uns.pop(ATTRIBUTES, None)
    result.obs[REGION], result.obs[INSTANCE] = pd.Categorical([shapes] * len(result)), instances
    return TableModel.parse(result, region=shapes, region_key=REGION, instance_key=INSTANCE)


def _put(store: SpatialData, path: Path, table: str, shapes: str, adata: AnnData) -> None:
    """Write a table next to the store, in the store's format, and move it into the store when it is complete."""
    import zarr
    from spatialdata import SpatialData
    from spatialdata._io.format import SpatialDataContainerFormatV01

    formats = SpatialDataContainerFormatV01() if zarr.open_group(path, mode="r").metadata.zarr_format == 2 else None
    with staged(path) as folder:
        new, target = folder / "staged.zarr", path / "tables"
        # Include the spots, so that SpatialData checks the table against them.
        SpatialData(shapes={shapes: store.shapes[shapes]}, tables={table: adata}).write(new, sdata_formats=formats)
        if not target.is_dir():
            (new / "tables").rename(target)
        else:
            if (target / table).is_dir():
                (target / table).rename(folder / "replaced")
            (new / "tables" / table).rename(target / table)
    if store.has_consolidated_metadata():
        store.write_consolidated_metadata()
