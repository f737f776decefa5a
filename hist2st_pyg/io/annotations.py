"""Read QuPath's annotations of a slide (GeoJSON) and label spots by the class of their area."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.io.columns import LARGEST_NUMBER
from hist2st_pyg.io.rings import Ring, inside, signed_area
from hist2st_pyg.io.tables import UNLABELED
from hist2st_pyg.utils.json_files import read_json

logger = logging.getLogger(__name__)

SUFFIXES = (".geojson", ".json")
"""Suffixes of annotation files."""


class Annotation(NamedTuple):
    """An annotated area.

    Args:
        label: Its class.
        polygons: Its polygons: the outer ring of each, and those of its holes, in pixels of the full resolution.
    """

    label: str
    polygons: list[list[Ring]]

    @property
    def area(self) -> float:
        """Its area in square pixels."""
        return sum(
            abs(signed_area(outer)) - sum(abs(signed_area(hole)) for hole in holes) for outer, *holes in self.polygons
        )


def read_annotations(path: str | Path) -> list[Annotation]:
    """Read the annotated areas of a file.

    Points, lines and areas without a class are skipped, and the log counts them.

    Args:
        path: A GeoJSON ``FeatureCollection``, a list of features, or a feature. The class of an area is
            ``properties.classification.name``, as QuPath writes it (``names`` from 0.6 on).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file, has no area with a class, or a position is not a number; the message
            names the feature.
    """
    path, found, others = Path(path), list[Annotation](), 0
    features = _features(read_json(path), path)
    for index, feature in enumerate(features):
        where = f"{path}, feature {index}"
        if not isinstance(feature, dict) or not isinstance(geometry := feature.get("geometry"), dict):
            raise ValueError(f"{where} is not a GeoJSON feature with a geometry, got {feature!r:.100}.")
        label = _label(feature.get("properties"), where)
        polygons = _polygons(geometry, where)
        if label is None or not polygons:
            others += 1
        else:
            found.append(Annotation(label, polygons))
    if not found:
        raise ValueError(
            f"{path} has no area with a class among its {len(features)} features; draw areas (not points or "
            "lines), and set their class in QuPath."
        )
    if others:
        logger.warning("%s: skipped %d of %d annotations: not areas, or without a class", path, others, len(features))
    return found


def annotated(pos: NDArray[np.float64], annotations: Sequence[Annotation]) -> NDArray[Any]:
    """The class of the smallest area that each spot lies in; ``"undetermined"`` outside all areas.

    Args:
        pos: Spot centers x, y in pixels of the full resolution, [N, 2].
        annotations: The areas.

    Returns:
        Labels [N], str.
    """
    labels = np.full(len(pos), UNLABELED, dtype=object)
    for annotation in sorted(annotations, key=lambda area: -area.area):
        for rings in annotation.polygons:
            labels[inside(pos, rings)] = annotation.label
    return labels


def _features(content: Any, path: Path) -> list[Any]:
    if isinstance(content, dict) and content.get("type") == "Feature":
        return [content]
    features = content.get("features") if isinstance(content, dict) else content
    if not isinstance(features, list):
        raise ValueError(
            f"{path} holds no annotations: it must be a FeatureCollection of GeoJSON or a list of features."
        )
    return features


def _label(properties: Any, where: str) -> str | None:
    """The class; None if there is none."""
    properties = {} if properties is None else properties
    if not isinstance(properties, dict):
        raise ValueError(f"{where}: properties must be a mapping, got {properties!r:.100}.")
    kind = properties.get("classification")
    if isinstance(kind, dict):
        names = kind.get("names")
        kind = ": ".join(map(str, names)) if isinstance(names, list) and names else kind.get("name")
    if kind is not None and not isinstance(kind, str):
        raise ValueError(f"{where}: the name of its classification must be text, got {kind!r:.100}.")
    return kind or None


def _polygons(geometry: dict[str, Any], where: str) -> list[list[Ring]]:
    """The polygons of a geometry; empty if it is not an area."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        return []
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"{where}: its geometry must be a Polygon or MultiPolygon, got {kind!r:.100}.")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not all(isinstance(rings, list) and rings for rings in polygons):
        raise ValueError(f"{where}: coordinates of a {kind} must be lists of rings, got {coordinates!r:.100}.")
    return [[_ring(ring, where) for ring in rings] for rings in polygons]


def _ring(points: Any, where: str) -> Ring:
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) >= 2 for point in points):
        raise ValueError(f"{where}: a ring must be a list of points [x, y], got {points!r:.100}.")
    for point in points:
        if wrong := [v for v in point[:2] if type(v) not in (int, float) or not abs(v) <= LARGEST_NUMBER]:
            raise ValueError(
                f"{where}: a position must be numbers of at most {LARGEST_NUMBER:g}, got {wrong[0]!r:.100}."
            )
    if len(points) < 3:
        raise ValueError(f"{where}: a ring must have at least 3 points, got {len(points)}.")
    ring = np.array([point[:2] for point in points], dtype=np.float64)
    return ring if (ring[0] == ring[-1]).all() else np.concatenate([ring, ring[:1]])
