from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from hist2st_pyg.io.annotations import annotated, read_annotations
from hist2st_pyg.io.labels import read_labels

POS = np.array([[5.0, 5.0], [15.0, 5.0], [25.0, 5.0], [95.0, 95.0]])


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(kind: str, coordinates: Any, name: str | None = "Tumor", **properties: Any) -> dict[str, Any]:
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def written(content: Any, name: str = "a.geojson") -> Path:
    Path(name).write_text(json.dumps(content))
    return Path(name)


def labels(*features: dict[str, Any]) -> list[str]:
    return annotated(POS, read_annotations(written(list(features)))).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", ["collection", "list", "feature"])
def test_a_spot_takes_the_class_of_its_area(form: str) -> None:
    area = feature("Polygon", [square(0, 0, 10)])
    content = {"collection": {"type": "FeatureCollection", "features": [area]}, "list": [area], "feature": area}[form]
    (annotation,) = read_annotations(written(content))
    assert (annotation.label, annotation.area) == ("Tumor", 100)
    assert annotated(POS, [annotation]).tolist() == ["Tumor", *["undetermined"] * 3]


def test_holes_are_outside_and_parts_belong_together() -> None:
    ring = feature("Polygon", [square(0, 0, 30), square(10, 0, 10)])
    parts = feature("MultiPolygon", [[square(10, 0, 10)], [square(90, 90, 10)]], "Fat")
    assert labels(ring) == ["Tumor", "undetermined", "Tumor", "undetermined"]
    assert labels(ring, parts) == ["Tumor", "Fat", "Tumor", "Fat"]


def test_of_nested_areas_the_smallest_counts_in_any_order() -> None:
    tissue, tumor = feature("Polygon", [square(0, 0, 99)], "Tissue"), feature("Polygon", [square(0, 0, 20)])
    assert labels(tissue, tumor) == labels(tumor, tissue) == ["Tumor", "Tumor", "Tissue", "Tissue"]


def test_a_class_of_several_names_and_open_rings_are_read() -> None:
    several = feature("Polygon", [square(0, 0, 10)[:-1]], None, classification={"names": ["Tumor", "Positive"]})
    assert labels(several)[0] == "Tumor: Positive"


def test_what_is_no_area_or_has_no_class_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    others = [
        feature("Point", [5, 5]), feature("LineString", [[0, 0], [9, 9]]), feature("Polygon", [square(0, 0, 9)], None),
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square(0, 0, 9)]}, "properties": None},
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert labels(feature("Polygon", [square(0, 0, 10)]), *others)[0] == "Tumor"
    assert "skipped 4 of 5 annotations: not areas, or without a class" in caplog.text
    with pytest.raises(ValueError, match=r"a\.geojson has no area with a class among its 4 features; draw areas"):
        labels(*others)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (5, r"a\.geojson holds no annotations: it must be a FeatureCollection"),
        ({"type": "FeatureCollection"}, r"a\.geojson holds no annotations"),
        ([1], r"a\.geojson, feature 0 is not a GeoJSON feature with a geometry, got 1"),
        ([{"type": "Feature", "geometry": None}], "feature 0 is not a GeoJSON feature"),
        ([feature("Circle", [])], "feature 0: its geometry must be a Polygon or MultiPolygon, got 'Circle'"),
        ([feature("Polygon", 5)], "feature 0: coordinates of a Polygon must be lists of rings, got 5"),
        ([feature("Polygon", [])], r"feature 0: coordinates of a Polygon must be lists of rings, got \[\]"),
        (
            [feature("MultiPolygon", [[[[[0]]]]])],
            r"a position must be numbers|a ring must be a list of points",
        ),
        ([feature("Polygon", [[[0, 0], [1, 1]]])], "feature 0: a ring must have at least 3 points, got 2"),
        ([feature("Polygon", [[[0, 0], [1], [2, 2]]])], r"feature 0: a ring must be a list of points \[x, y\]"),
        ([feature("Polygon", [[[0, 0], ["x", 1], [2, 2]]])], "feature 0: a position must be numbers .*, got 'x'"),
        ([feature("Polygon", [[[0, 0], [1e300, 1], [2, 2]]])], r"0: a position must be numbers .*, got 1e\+300"),
        ([feature("Polygon", [[[0, 0], [True, 1], [2, 2]]])], "feature 0: a position must be numbers .*, got True"),
        ([feature("Polygon", [square(0, 0, 9)], None, classification={"name": 5})], "must be text, got 5"),
        ([{**feature("Polygon", [square(0, 0, 9)]), "properties": 5}], "properties must be a mapping, got 5"),
    ],
    ids=str,
)
def test_what_cannot_be_right_is_named(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_annotations(written(content))


def test_text_that_is_no_json_is_named() -> None:
    for text, message in (
        ("{", "is not JSON"),
        ("[" * 100_000, "nested too deep"),
        ("[NaN]", "NaN, which is not a number"),
    ):
        Path("a.geojson").write_text(text)
        with pytest.raises(ValueError, match=rf"a\.geojson.*{message}"):
            read_annotations("a.geojson")


def test_annotations_are_labels_of_a_section(caplog: pytest.LogCaptureFixture) -> None:
    adata = anndata.AnnData(np.ones((4, 1)), obsm={"spatial": POS})
    path = written([feature("Polygon", [square(0, 0, 20)])])
    with caplog.at_level(logging.WARNING):
        assert read_labels(path, adata).tolist() == ["Tumor", "Tumor", "undetermined", "undetermined"]
    assert "a.geojson: 2 of 4 spots lie in no annotated area" in caplog.text
    adata.obsm["spatial"] = POS + 1000
    message = r"no spot lies in an annotated area; the spots extend from x=1005, y=1005 to x=1095, y=1095"
    with pytest.raises(ValueError, match=message):
        read_labels(path, adata)
