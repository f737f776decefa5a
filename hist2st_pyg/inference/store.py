"""Predictions in SpatialData stores (Marconato et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.datasets.spatialdata import PREDICTION
from hist2st_pyg.io.array_places import spot_pitch
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

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

TABLE, SPOTS, THUMBNAIL = "hist2st", "spots", "thumbnail"
"""What the elements of a new store are called where no other name is given."""

REGION, INSTANCE = "spatialdata_region", "spatialdata_instance"
"""The columns of ``obs`` that say which element, and which spot of it, a row of the table is about."""

TOLERANCE = 0.5
"""How far a spot may be from where the store has it, in pixels."""


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

    Where there is a store at ``path``, it gets a table that annotates its spots, and nothing else in it changes. Else a
    new one is written: the spots as circles, the thumbnail as an image, both in pixels of the full-resolution image
    ("global"), and the table.

    Args:
        adata: A prediction, as :func:`~hist2st_pyg.predict` gives it.
        path: The store, a folder; ``.zarr`` by convention.
        table: Key of the table.
        shapes: Key of the spots. In a store that exists, None takes the only ones that have the prediction's spots.
        image: Key of the thumbnail; in a store that exists, of the image that the prediction was made of, which is
            the only one when None.
        coordinate_system: Where spots and image of a store that exists meet, as in
            :func:`hist2st_pyg.datasets.spatialdata.load`.
        overwrite: Replace a prediction of the same key.

    Raises:
        ImportError: If the ``spatialdata`` extra is not installed.
        ValueError: If there is something else at ``path``, the table is there, or the store has not these spots at
            these positions.
    """
    path = Path(path)
    if PREDICTION not in adata.uns:
        raise ValueError(f"Only predictions are written: uns has no {PREDICTION!r}, which predict puts there.")
    require_spatialdata(path)
    if is_store(path):
        _add_table(adata, path, table, shapes, image, coordinate_system, overwrite)
        return
    if path.exists():
        raise ValueError(f"{path} is there and is no SpatialData store; it is not replaced.")
    store = _new_store(adata, table, shapes or SPOTS, image or THUMBNAIL)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        store.write(Path(folder) / path.name)
        (Path(folder) / path.name).rename(path)


def _new_store(adata: AnnData, table: str, shapes: str, image: str) -> SpatialData:
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, ShapesModel
    from spatialdata.transformations import Identity, Scale

    libraries = list(adata.uns.get("spatial", {}).values())
    if len(libraries) > 1:
        raise ValueError(
            f"The prediction is of {len(libraries)} images ({', '.join(adata.uns['spatial'])}), not of one."
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
    if away.max() > TOLERANCE:
        raise ValueError(
            f"{path}: the prediction's spot {names[int(away.argmax())]!r} is {away.max():.1f} px from where "
            f"{shapes!r} has it. Is the prediction of this section, and of its image {image!r}?"
        )
    _put(store, path, table, shapes, _table(adata, shapes, found[shapes]))


def _check_key(store: SpatialData, path: Path, table: str, overwrite: bool) -> None:
    """Refuse a key that another element has, in whatever case, and a table that may not be replaced."""
    kinds = [path / kind for kind in ("images", "labels", "points", "shapes", "tables") if (path / kind).is_dir()]
    for other in (folder for kind in kinds for folder in kind.iterdir()):
        if other.name.casefold() == table.casefold() and other != path / "tables" / table:
            raise ValueError(f"{path} has {other.relative_to(path)}, and keys are unique; name the table otherwise.")
    if table in store.tables and PREDICTION not in store.tables[table].uns:
        raise ValueError(f"{path}: table {table!r} is no prediction and is not replaced; name the table otherwise.")
    if table in store.tables and not overwrite:
        raise ValueError(f"{path} has a table {table!r}; name this one otherwise, or replace it with overwrite=True.")


def _instances(store: SpatialData, shapes: str, names: list[str], path: Path) -> NDArray[Any] | None:
    """Each spot's name in the index of the shapes: as a table says that annotates them, or the name itself."""
    import pandas as pd

    tables = [table_rows(store, key, shapes, path) for key in store.tables if shapes in annotated_spots(store, key)]
    index = store.shapes[shapes].index
    for rows, instances in [*((rows.obs_names, instances) for rows, instances in tables), (index, index.to_numpy())]:
        known = pd.Series(instances, index=rows.astype(str))
        if known.index.is_unique and pd.Index(names).isin(known.index).all():
            return known.loc[names].to_numpy()
    return None


def _table(adata: AnnData, shapes: str, instances: NDArray[Any] | list[str]) -> AnnData:
    """The prediction as a table that annotates the spots."""
    import pandas as pd
    from spatialdata.models import TableModel

    result = adata.copy()
    result.uns.pop(ATTRIBUTES, None)
    result.obs[REGION], result.obs[INSTANCE] = pd.Categorical([shapes] * len(result)), instances
    return TableModel.parse(result, region=shapes, region_key=REGION, instance_key=INSTANCE)


def _put(store: SpatialData, path: Path, table: str, shapes: str, adata: AnnData) -> None:
    """Write a table beside the store, in the store's own format, and move it in when it is whole."""
    import zarr
    from spatialdata import SpatialData
    from spatialdata._io.format import SpatialDataContainerFormatV01

    formats = SpatialDataContainerFormatV01() if zarr.open_group(path, mode="r").metadata.zarr_format == 2 else None
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        staged, target = Path(folder) / "staged.zarr", path / "tables"
        # The spots are there so that the table is checked against them.
        SpatialData(shapes={shapes: store.shapes[shapes]}, tables={table: adata}).write(staged, sdata_formats=formats)
        if not target.is_dir():
            (staged / "tables").rename(target)
        else:
            if (target / table).is_dir():
                (target / table).rename(Path(folder) / "replaced")
            (staged / "tables" / table).rename(target / table)
    if store.has_consolidated_metadata():
        store.write_consolidated_metadata()
