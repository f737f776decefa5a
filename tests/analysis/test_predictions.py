from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _helpers.made_prediction import made_prediction
from anndata import AnnData
from scipy.sparse import csr_matrix

from hist2st_pyg import Hist2ST, Preprocessing, Section, predict_section
from hist2st_pyg.analysis.predictions import (
    background_of,
    expression_of,
    measured_counts,
    measured_expression,
    name_of,
    read_measured,
    read_prediction,
)
from hist2st_pyg.data.expression import expression_target, panel_counts
from hist2st_pyg.inference import write_h5ad


def test_a_prediction_comes_back() -> None:
    adata = made_prediction()[0]
    write_h5ad(adata, "made.h5ad")
    read = read_prediction("made.h5ad")
    np.testing.assert_array_equal(read.X, adata.X)
    assert name_of(read) == "made"
    assert background_of(read)["image_scale"] == 0.2
    np.testing.assert_array_equal(background_of(read)["image"], adata.uns["spatial"]["made"]["images"]["hires"])
    np.testing.assert_allclose(expression_of(read, "sd"), adata.layers["sd"])


def test_resolution_and_size_of_spots_are_those_of_the_file() -> None:
    adata = made_prediction()[0]
    adata.uns["hist2st"]["um_per_pixel"] = 0.5
    adata.uns["spatial"]["made"]["scalefactors"]["spot_diameter_fullres"] = 30.0
    found = background_of(adata)
    assert (found["um_per_pixel"], found["spot_diameter"]) == (0.5, 30.0)


def test_images_of_floats_and_none() -> None:
    adata = made_prediction()[0]
    adata.uns["spatial"]["made"]["images"]["hires"] = np.full((4, 5, 4), 0.5)
    image = background_of(adata)["image"]
    assert (image.dtype, image.shape, image[0, 0, 0]) == (np.uint8, (4, 5, 3), 128)
    del adata.uns["spatial"]["made"]["images"]
    assert background_of(adata) == {"um_per_pixel": None}
    del adata.uns["spatial"]
    assert background_of(adata) == {"um_per_pixel": None}
    assert name_of(adata) == "section"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("counts", "X must be log expression, got whole numbers, which look like raw counts"),
        ("nan", "X must be finite, got nan"),
        ("empty", "no expression: X is empty"),
        ("positions", "no positions; obsm\\['spatial'\\] must hold"),
    ],
)
def test_what_is_no_prediction(change: str, message: str) -> None:
    adata, measured = made_prediction()
    if change == "counts":
        adata = measured
        adata.X = csr_matrix(adata.X)
    elif change == "nan":
        adata.X[3, 2] = np.nan
    elif change == "empty":
        adata.X = None
    else:
        del adata.obsm["spatial"]
    adata.write_h5ad("changed.h5ad")
    with pytest.raises(ValueError, match=f"changed.h5ad.*{message}"):
        read_prediction("changed.h5ad")


def test_no_file_and_another_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file nowhere\.h5ad"):
        read_prediction("nowhere.h5ad")
    Path("text.h5ad").write_text("spots")
    with pytest.raises(ValueError, match=r"text\.h5ad is damaged or not an AnnData file"):
        read_prediction("text.h5ad")


def test_an_unknown_layer() -> None:
    with pytest.raises(ValueError, match="no layer 'counts'; it has: mean, sd, zero_probability"):
        expression_of(made_prediction()[0], "counts")


@pytest.mark.parametrize("total", ["panel", "all"])
def test_measured_expression_is_the_target_of_training(cohort: list[Section], total: str) -> None:
    """In the unit that the prediction itself says."""
    section = cohort[0]
    genes = ("GENE3", "ABSENT", "GENE1", "GENE2")
    model = Hist2ST(
        4, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="none", likelihood=None,
    )  # fmt: skip
    model.preprocessing = Preprocessing(genes, patch_size=28, normalize_by=total)
    adata = predict_section(model.eval(), section)[::-1]  # another order of the spots
    predicted, measured = measured_expression(adata, section)
    assert list(predicted.var_names) == list(measured.var_names) == ["GENE3", "GENE1", "GENE2"]
    counts, mask = panel_counts(section, genes)
    expected = expression_target(section, counts, total)[::-1][:, mask]  # type: ignore[arg-type]
    np.testing.assert_allclose(measured.X, expected, rtol=1e-5)
    np.testing.assert_array_equal(predicted.X, adata[:, mask].X)
    np.testing.assert_array_equal(measured.obsm["spatial"], section.pos[::-1])


def test_spots_are_joined_by_name() -> None:
    adata, measured = made_prediction()
    predicted, counts = measured_counts(adata[:40], measured[20:])
    assert list(predicted.obs_names) == list(counts.obs_names) == list(adata.obs_names[20:40])
    np.testing.assert_array_equal(counts.X, measured.X[20:40])


def test_a_measurement_that_does_not_fit() -> None:
    adata, measured = made_prediction()
    other = measured.copy()
    other.obs_names = [f"spot{i}" for i in range(64)]
    with pytest.raises(
        ValueError, match=r"share 0 of 64 spots and 24 of 24 genes, .* their first spots are '0x0' and 'sp"
    ):
        measured_counts(adata, other)
    with pytest.raises(ValueError, match="X of the measured data must hold raw counts"):
        measured_counts(adata, AnnData(adata.X, obs=adata.obs, var=adata.var))
    other.obs_names = ["twice"] * 64
    with pytest.raises(ValueError, match="The names of the spots of the measured data are not unique: 'twice'"):
        measured_counts(adata, other)


def test_the_measured_section_is_a_file_or_of_a_data_set() -> None:
    measured = made_prediction()[1]
    del measured.uns["parameters"]
    write_h5ad(measured, "counts.h5ad")
    read = read_measured("counts.h5ad")
    assert isinstance(read, AnnData)
    np.testing.assert_array_equal(read.X, measured.X)
    section = read_measured("B1", "synthetic", options={"patients": 2, "spots": 20, "genes": 5, "noise_genes": 1})
    assert isinstance(section, Section)
    assert section.name == "B1"
    with pytest.raises(FileNotFoundError, match="There is no file B1"):
        read_measured("B1")
