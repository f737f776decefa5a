"""The output formats of a prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from _helpers.cohorts import names, outcomes
from _helpers.sage_model import GENES

from hist2st_pyg.analysis.maps import draw_prediction
from hist2st_pyg.inference.cohort import CohortResult


@pytest.mark.parametrize("format", ["csv", "geojson"])
def test_tables(run: Callable[..., CohortResult], format: str) -> None:
    """A table holds no image: where other pictures are asked for, the slide is predicted again."""
    assert outcomes(run("A1", format=format, draw=draw_prediction, genes=["GENE2"])) == {"A1": "done"}
    assert outcomes(run("A1", format=format, draw=draw_prediction, genes=["GENE2"])) == {"A1": "skipped"}
    first, picture = Path(f"out/A1.{format}").read_bytes(), Path("out/figures/A1_predicted.png").read_bytes()
    assert outcomes(run("A1", format=format, draw=draw_prediction, genes=["GENE3"])) == {"A1": "done"}
    assert Path(f"out/A1.{format}").read_bytes() == first
    assert Path("out/figures/A1_predicted.png").read_bytes() != picture
    assert names() == {f"A1.{format}", "A1.json", "logs", "figures"}


def test_stores(run: Callable[..., CohortResult]) -> None:
    import spatialdata

    assert outcomes(run("A1", format="zarr")) == {"A1": "done"}
    store = spatialdata.read_zarr("out/A1.zarr")
    assert list(store.tables["hist2st"].var_names) == list(GENES)
    assert names() == {"A1.zarr", "A1.json", "logs"}
    written = Path("out/A1.zarr").stat().st_mtime_ns
    assert outcomes(run("A1", format="zarr", draw=draw_prediction)) == {"A1": "done"}
    assert names("out/figures") == {"A1_predicted.png", "A1_tissue.png"}
    assert Path("out/A1.zarr").stat().st_mtime_ns == written
    assert outcomes(run("A1", format="zarr", pitch=90.0, overwrite=True)) == {"A1": "done"}
    other = spatialdata.read_zarr("out/A1.zarr")
    assert other.tables["hist2st"].n_obs < store.tables["hist2st"].n_obs
    assert names() == {"A1.zarr", "A1.json", "logs", "figures"}
    with pytest.raises(ValueError, match=r"A1\.zarr was made with another configuration \(options\.format was zarr"):
        run("A1")
