"""Spots and regions of a prediction as GeoJSON, which QuPath opens on the slide (drag the file onto the image)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.anndata import libraries, scale_factors
from hist2st_pyg.io.labels import column_labels
from hist2st_pyg.io.outlines import outlines
from hist2st_pyg.io.tables import UNLABELED
from hist2st_pyg.utils.array_places import spot_pitch
from hist2st_pyg.utils.files import atomic_path

if TYPE_CHECKING:
    from anndata import AnnData

REGION = "region"
"""The column of ``obs`` with the regions."""

CIRCLE_CORNERS = 16
"""Corners of a spot's circle: GeoJSON has no circles."""

DIGITS = 5
"""Significant digits of a measurement."""

COLORS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66),
    (120, 120, 120),
)  # fmt: skip
"""The colors of regions in turn (Okabe and Ito 2008), red, green and blue."""


def write_geojson(adata: AnnData, path: str | Path, genes: Sequence[str] | None = None) -> None:
    """Write each spot as a detection of QuPath, a circle with its values as measurements.

    QuPath colors them by a gene under *Measure*, *Show measurement maps*. Positions are pixels of the full resolution.

    Args:
        adata: A prediction, as :func:`~hist2st_pyg.predict` returns it, or any with ``obsm["spatial"]``; a column
            ``obs["region"]`` becomes the class.
        path: The file, ``.geojson``.
        genes: The genes to write; None writes all.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a gene is missing, or a value is not finite.
    """
    chosen = list(adata.var_names) if genes is None else list(genes)
    if unknown := [gene for gene in chosen if gene not in adata.var_names]:
        raise ValueError(f"The gene {unknown[0]!r} is not in the data, which have {adata.n_vars} genes.")
    pos = np.asarray(adata.obsm["spatial"], dtype=np.float64)
    values = adata[:, chosen].X
    values = np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)
    if not np.isfinite(values).all() or not np.isfinite(pos).all():
        raise ValueError("Values and positions of spots must be finite to be written as GeoJSON.")
    regions = column_labels(adata.obs, REGION).tolist() if REGION in adata.obs else None
    colors = _colors(regions or [])
    angles = np.linspace(0, 2 * np.pi, CIRCLE_CORNERS + 1)
    circle = np.column_stack([np.cos(angles), np.sin(angles)]) * spot_diameter(adata) / 2
    circle[-1] = circle[0]

    def spots() -> Iterator[dict[str, Any]]:
        for index, name in enumerate(adata.obs_names):
            measured = {gene: float(f"{v:.{DIGITS}g}") for gene, v in zip(chosen, values[index].tolist(), strict=True)}
            properties = {"objectType": "detection", "name": str(name), "measurements": measured}
            if regions is not None and regions[index] != UNLABELED:
                properties["classification"] = {"name": regions[index], "color": colors[regions[index]]}
            yield _feature("Polygon", [_points(pos[index] + circle)], properties)

    _write(spots(), path)


def write_regions_geojson(adata: AnnData, path: str | Path, key: str = REGION) -> None:
    """Write the area of each region as an annotation of QuPath; it ends half a pitch beyond the spots.

    Args:
        adata: With ``obsm["spatial"]`` and the regions; ``"undetermined"`` spots are in no region.
        path: The file, ``.geojson``.
        key: The column of ``obs`` with the regions, or labels.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no such column, or no spot has a region.
    """
    if key not in adata.obs:
        raise ValueError(f"There is no obs[{key!r}] with regions; columns: {', '.join(map(str, adata.obs.columns))}.")
    labels = column_labels(adata.obs, key)
    names = sorted(set(labels) - {UNLABELED})
    if not names:
        raise ValueError(f"No spot has a region in obs[{key!r}].")
    if len(labels) < 2:
        raise ValueError("The outlines of regions need at least 2 spots.")
    colors = _colors(names)
    found = outlines(np.asarray(adata.obsm["spatial"], dtype=np.float64), labels)

    def regions() -> Iterator[dict[str, Any]]:
        for name in (name for name in names if name in found):
            polygons = [[_points(ring) for ring in rings] for rings in found[name]]
            kind = {"name": name, "color": colors[name]}
            yield _feature("MultiPolygon", polygons, {"objectType": "annotation", "name": name, "classification": kind})

    _write(regions(), path)


def spot_diameter(adata: AnnData) -> float:
    """Diameter of a spot in pixels, from ``uns["spatial"]``, else half the pitch."""
    found = (scale_factors(library).get("spot_diameter_fullres") for library in libraries(adata).values())
    known = next((float(value) for value in found if value is not None), None)
    return known or spot_pitch(np.asarray(adata.obsm["spatial"], dtype=np.float64)) / 2


def _colors(names: Sequence[str]) -> dict[str, list[int]]:
    return {name: list(COLORS[i % len(COLORS)]) for i, name in enumerate(sorted(set(names) - {UNLABELED}))}


def _points(ring: NDArray[np.float64]) -> list[list[float]]:
    return np.round(ring, 2).tolist()  # type: ignore[no-any-return]


def _feature(kind: str, coordinates: list[Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def _write(features: Iterator[dict[str, Any]], path: str | Path) -> None:
    """Write a FeatureCollection, one feature at a time."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for index, feature in enumerate(features):
            file.write(f"{',' if index else ''}\n{json.dumps(feature, allow_nan=False)}")
        file.write("\n]}\n")
