from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from _helpers.lattice import lattice
from numpy.typing import NDArray

from hist2st_pyg.inference import write_geojson, write_regions_geojson
from hist2st_pyg.io.labels import read_labels


def prediction(pos: NDArray[np.float64], **obs: Any) -> anndata.AnnData:
    values = np.random.default_rng(0).normal(size=(len(pos), 3)).astype(np.float32)
    names = [f"s{i}" for i in range(len(pos))]
    found = anndata.AnnData(values, obs=pd.DataFrame(obs, index=names), obsm={"spatial": pos})
    found.var_names = ["GENE1", "GENE2", "GENE3"]
    return found


def features(path: str) -> list[dict[str, Any]]:
    content = json.loads(Path(path).read_text())
    assert content["type"] == "FeatureCollection"
    return content["features"]  # type: ignore[no-any-return]


def test_spots_are_circles_with_measurements() -> None:
    adata = prediction(lattice(4, 3), region=["a", "b", None, "undetermined"] * 3)
    adata.uns["spatial"] = {"A1": {"scalefactors": {"spot_diameter_fullres": 40.0}}}
    write_geojson(adata, "out.geojson")
    found = features("out.geojson")
    assert len(found) == 12
    assert found[1]["properties"]["objectType"] == "detection"
    assert found[1]["properties"]["name"] == "s1"
    assert found[1]["properties"]["classification"]["name"] == "b"
    assert all("classification" not in found[i]["properties"] for i in (2, 3))
    measured = [list(feature["properties"]["measurements"].values()) for feature in found]
    np.testing.assert_allclose(measured, adata.X, rtol=1e-4)
    (ring,) = found[1]["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    np.testing.assert_allclose(np.linalg.norm(np.array(ring) - [100, 0], axis=1), 20, atol=0.01)


def test_genes_may_be_chosen_and_the_diameter_be_derived() -> None:
    adata = prediction(lattice(4, 3))
    write_geojson(adata, "out.geojson", ["GENE3"])
    found = features("out.geojson")
    assert list(found[0]["properties"]["measurements"]) == ["GENE3"]
    assert np.ptp(np.array(found[0]["geometry"]["coordinates"][0])[:, 0]) == pytest.approx(50, abs=0.1)
    with pytest.raises(ValueError, match="The gene 'GENE9' is not in the data, which have 3 genes"):
        write_geojson(adata, "other.geojson", ["GENE9"])
    adata.X[0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        write_geojson(adata, "other.geojson")
    assert not Path("other.geojson").exists()


def test_regions_come_back_as_labels() -> None:
    labels = ["tumor"] * 6 + ["stroma"] * 5 + ["undetermined"]
    adata = prediction(lattice(4, 3, hexagonal=True), region=labels)
    write_regions_geojson(adata, "regions.geojson")
    found = features("regions.geojson")
    assert [feature["properties"]["classification"]["name"] for feature in found] == ["stroma", "tumor"]
    assert {feature["properties"]["objectType"] for feature in found} == {"annotation"}
    assert read_labels("regions.geojson", adata).tolist() == labels


def test_what_cannot_be_outlined_is_named() -> None:
    adata = prediction(lattice(4, 3), region=["undetermined"] * 12)
    with pytest.raises(ValueError, match=r"There is no obs\['kind'\] with regions; columns: region"):
        write_regions_geojson(adata, "out.geojson", "kind")
    with pytest.raises(ValueError, match=r"No spot has a region in obs\['region'\]"):
        write_regions_geojson(adata, "out.geojson")
    with pytest.raises(ValueError, match="The outlines of regions need at least 2 spots"):
        write_regions_geojson(prediction(lattice(1, 1), region=["a"]), "out.geojson")
