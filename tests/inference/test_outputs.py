"""The output formats of a prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _helpers.cohorts import names, outcomes
from _helpers.sage_model import GENES
from anndata import AnnData

from hist2st_pyg.analysis.maps import draw_prediction
from hist2st_pyg.inference.cohort import CohortResult
from hist2st_pyg.inference.outputs import OUTPUTS, check_output


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


def prediction() -> AnnData:
    rng = np.random.default_rng(0)
    spots = [f"s{i}" for i in range(5)]
    adata = AnnData(rng.normal(size=(5, 6)).astype(np.float32), obs=pd.DataFrame(index=spots))
    adata.var_names, adata.obsm["spatial"] = list(GENES), rng.uniform(0, 100, (5, 2))
    return adata


def test_a_table_has_a_row_for_each_spot_with_its_place_and_its_genes() -> None:
    adata = prediction()
    OUTPUTS["csv"].write(adata, Path("a.csv"))
    read = pd.read_csv("a.csv", index_col="spot")
    assert list(read.columns) == ["x", "y", *GENES]
    assert list(read.index) == list(adata.obs_names)
    np.testing.assert_allclose(read.to_numpy(), np.hstack([adata.obsm["spatial"], adata.X]), rtol=1e-6)


def test_what_anndata_s_format_holds_is_the_prediction() -> None:
    adata = prediction()
    OUTPUTS["h5ad"].write(adata, Path("a.h5ad"))
    assert OUTPUTS["h5ad"].read is not None
    again = OUTPUTS["h5ad"].read(Path("a.h5ad"))
    np.testing.assert_array_equal(again.X, adata.X)
    np.testing.assert_array_equal(again.obsm["spatial"], adata.obsm["spatial"])


@pytest.mark.parametrize("gene", ["spot", "x", "y"])
def test_a_gene_that_a_table_has_no_column_for_is_refused_before_the_work(gene: str) -> None:
    check_output("a.csv", "csv", GENES)
    check_output("a.h5ad", "h5ad", [*GENES, gene])
    with pytest.raises(ValueError, match=f"The gene '{gene}' has the name of a reserved column of the .csv; write"):
        check_output("a.csv", "csv", [*GENES, gene])


def test_a_place_that_cannot_be_written_is_refused_before_the_work() -> None:
    Path("file").touch()
    with pytest.raises(OSError, match=r"file/a\.csv"):
        check_output("file/a.csv", "csv", GENES)
    Path("a.zarr").mkdir()
    Path("a.zarr/mine.txt").touch()
    with pytest.raises(ValueError, match=r"a\.zarr exists and is not a SpatialData store"):
        check_output("a.zarr", "zarr", GENES, overwrite=True)
