"""A prediction is what scanpy and squidpy draw, as it is and after it was written and read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anndata
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from hist2st_pyg import Hist2ST, Preprocessing, Section, predict, predict_section
from hist2st_pyg.inference import write_h5ad

mpl.use("Agg")
GENES = ("GENE1", "GENE2")


@pytest.fixture(scope="module")
def model() -> Hist2ST:
    torch.manual_seed(0)
    built = Hist2ST(
        len(GENES), patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16},
        transformer_layers=0, position="none", gnn="sage", gnn_layers=1, likelihood="zinb",
    )  # fmt: skip
    built.preprocessing = Preprocessing(GENES, patch_size=28, pitch=64.0, um_per_pixel=3.0)
    return built.eval()


@pytest.fixture(scope="module")
def section(cohort: list[Section]) -> Section:
    """One whose image is larger than its thumbnail and wider than high."""
    small = cohort[0].require_image()
    with small.open() as region:
        pixels = region(0, 0, *small.size).repeat(3, axis=0).repeat(3, axis=1)
    adata = cohort[0].adata.copy()
    adata.obsm["spatial"] = 3 * cohort[0].pos
    return replace(cohort[0], adata=adata, image=np.pad(pixels, ((0, 0), (0, 300), (0, 0)), constant_values=255))


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module", params=["spots given", "grid laid", "read from .h5ad"])
def prediction(
    request: pytest.FixtureRequest, model: Hist2ST, section: Section, tmp_path_factory: pytest.TempPathFactory
) -> AnnData:
    if request.param == "grid laid":
        return predict(model, section.require_image(), name="A1", pitch=200)
    out = predict_section(model, section)
    if request.param == "spots given":
        return out
    path = tmp_path_factory.mktemp("scverse") / "a.h5ad"
    write_h5ad(out, path)
    return anndata.read_h5ad(path)


def test_conventions(prediction: AnnData, section: Section) -> None:
    """The keys are those of ``sc.read_visium`` and ``sq.read.visium``, with values of their kinds."""
    image = section.require_image()
    assert prediction.obsm["spatial"].shape == (prediction.n_obs, 2)
    assert ((prediction.obsm["spatial"] >= 0) & (prediction.obsm["spatial"] < image.size)).all()
    assert list(prediction.uns["spatial"]) == ["A1"]
    library = prediction.uns["spatial"]["A1"]
    assert {"images", "scalefactors", "metadata"} <= set(library)
    hires, factors = library["images"]["hires"], library["scalefactors"]
    assert factors["tissue_hires_scalef"] < 0.9
    assert hires.dtype == np.uint8
    assert hires.shape[2] == 3
    for key in ("tissue_hires_scalef", "spot_diameter_fullres"):
        assert np.ndim(factors[key]) == 0
        assert factors[key] > 0
    np.testing.assert_allclose(np.multiply(image.size, factors["tissue_hires_scalef"]), hires.shape[1::-1], atol=1)
    assert prediction.obs_names.is_unique
    assert set(prediction.layers) >= {"mean", "sd"}


def test_it_is_written_and_read(prediction: AnnData, tmp_path: Path) -> None:
    write_h5ad(prediction, tmp_path / "a.h5ad")
    prediction.write_zarr(tmp_path / "a.zarr")
    for read in (anndata.read_h5ad(tmp_path / "a.h5ad"), anndata.read_zarr(tmp_path / "a.zarr")):
        np.testing.assert_array_equal(read.X, prediction.X)
        for field in ("layers", "obsm", "uns"):
            np.testing.assert_equal(dict(getattr(read, field)), dict(getattr(prediction, field)))
        pd.testing.assert_frame_equal(read.obs, prediction.obs)
        pd.testing.assert_frame_equal(read.var, prediction.var)


def check_drawing(axes: mpl.axes.Axes, prediction: AnnData, gene: str) -> None:
    """The spots' circles are where the spots are on the thumbnail behind them, colored by the gene."""
    library = prediction.uns["spatial"]["A1"]
    factor, hires = library["scalefactors"]["tissue_hires_scalef"], library["images"]["hires"]
    (image,) = axes.get_images()
    np.testing.assert_array_equal(image.get_array(), hires)
    np.testing.assert_allclose(image.get_extent(), [-0.5, hires.shape[1] - 0.5, hires.shape[0] - 0.5, -0.5])
    (circles,) = (collection for collection in axes.collections if collection.get_array() is not None)
    extents = [path.get_extents() for path in circles.get_paths()]
    centers = np.array([extent.get_points().mean(0) for extent in extents])
    diameter = factor * library["scalefactors"]["spot_diameter_fullres"]
    np.testing.assert_allclose([extent.width for extent in extents], diameter, rtol=1e-6)
    # Either program draws high values last.
    values = np.asarray(prediction[:, gene].X, dtype=np.float64).ravel()
    drawn, order = np.argsort(circles.get_array()), np.argsort(values)
    np.testing.assert_allclose(circles.get_array()[drawn], values[order], rtol=1e-6)
    np.testing.assert_allclose(centers[drawn], prediction.obsm["spatial"][order] * factor, atol=1e-3)
    # y runs down, and the view is on the spots.
    bottom, top = axes.get_ylim()
    assert bottom > top
    left, right = axes.get_xlim()
    assert ((left <= centers[:, 0]) & (centers[:, 0] <= right)).all()
    assert ((top <= centers[:, 1]) & (centers[:, 1] <= bottom)).all()


def test_scanpy_draws_it(prediction: AnnData) -> None:
    import scanpy as sc

    axes = sc.pl.spatial(prediction, color=list(GENES), show=False)
    for ax, gene in zip(axes, GENES, strict=True):
        assert ax.get_title() == gene
        check_drawing(ax, prediction, gene)


def test_squidpy_draws_it(prediction: AnnData) -> None:
    import squidpy as sq

    axes = sq.pl.spatial_scatter(prediction, color=list(GENES), return_ax=True)
    for ax, gene in zip(axes, GENES, strict=True):
        assert ax.get_title() == gene
        check_drawing(ax, prediction, gene)


def test_squidpy_finds_the_neighbors(prediction: AnnData) -> None:
    import squidpy as sq

    drawn = prediction.copy()
    sq.gr.spatial_neighbors_knn(drawn, n_neighs=4)
    sq.gr.spatial_autocorr(drawn, mode="moran", n_perms=None)
    assert set(drawn.uns["moranI"].index) == set(GENES)
    assert np.isfinite(drawn.uns["moranI"]["I"]).all()
