"""AnnData as scanpy, Seurat's converters and CELLxGENE write it: read where it is unambiguous, else refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _helpers.four_spots import NAMES, POS, made
from scipy.sparse import csr_matrix

from hist2st_pyg.io.anndata import in_tissue, libraries, patient_of, positive, set_places, visium_diameter

PATH = Path("a.h5ad")


# Libraries.


def library(diameter: Any) -> dict[str, Any]:
    return {"images": {}, "scalefactors": {"spot_diameter_fullres": diameter}}


@pytest.mark.parametrize(
    ("spatial", "expected"),
    [
        ({"is_single": np.bool_(True), "lib": library(40.0)}, 40.0),
        ({"is_single": np.bool_(True)}, None),
        ({"lib": library(np.array([40.0]))}, 40.0),
        ({"lib": library(np.array(40))}, 40.0),
        ({"lib": library("40.0")}, 40.0),
        ({"lib": library(np.nan)}, None),
        ({"lib": library(-1)}, None),
        ({"lib": library(None)}, None),
        ({"lib": np.zeros(3)}, None),
        ({"lib": {"scalefactors": np.zeros(3)}}, None),
        ({"lib": {}}, None),
        (np.zeros(3), None),
        (7, None),
        ("text", None),
        ({}, None),
    ],
)
def test_only_mappings_are_libraries(spatial: Any, expected: float | None) -> None:
    adata = made()
    adata.uns["spatial"] = spatial
    assert visium_diameter(adata, PATH) == expected


def test_two_libraries_and_numbers_that_are_none_are_refused() -> None:
    adata = made()
    assert libraries(adata) == {}
    adata.uns["spatial"] = {"a": library(40), "b": library(40), "is_single": False}
    with pytest.raises(ValueError, match=r"a\.h5ad holds 2 libraries \(a, b\); a file must hold one section"):
        visium_diameter(adata, PATH)
    assert positive({"d": [3]}, "d", "a: d") == 3
    for wrong in ("wide", np.array([1.0, 2.0])):
        with pytest.raises(ValueError, match=r"^a: d must be a number, got"):
            positive({"d": wrong}, "d", "a: d")


# Tissue.


@pytest.mark.parametrize(
    "values",
    [
        [1, 0, 1, 0],
        [1.0, 0.0, 1.0, 0.0],
        [True, False, True, False],
        ["1", "0", "1", "0"],
        ["True", "False", "True", "False"],
        pd.Categorical([1, 0, 1, 0]),
        pd.Categorical(["TRUE", "FALSE", "TRUE", "FALSE"]),
    ],
)
def test_spots_off_the_tissue_are_left_out(values: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    kept = in_tissue(made(in_tissue=values), PATH)
    assert list(kept.obs_names) == ["s1", "s3"]
    np.testing.assert_array_equal(kept.obsm["spatial"], POS[[0, 2]])
    assert "a.h5ad: dropped 2 of 4 spots, which are not in the tissue" in caplog.text


def test_odd_values_of_in_tissue_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.h5ad, spot 's2': in_tissue must be 0 or 1, got 'nan'"):
        in_tissue(made(in_tissue=[1, np.nan, 1, 0]), PATH)
    with pytest.raises(ValueError, match=r"a\.h5ad has no spot left: in_tissue is 0 in all 4 spots"):
        in_tissue(made(in_tissue=[0, 0, 0, 0]), PATH)
    whole = made()
    assert in_tissue(whole, PATH) is whole


# Positions and places.


@pytest.mark.parametrize(
    "spatial",
    [
        POS.astype(np.int64),
        POS.astype(np.float32),
        np.c_[POS, np.zeros(4)],
        pd.DataFrame(POS, columns=["x", "y"], index=NAMES),
        pd.DataFrame({"Y": POS[:, 1], "X": POS[:, 0], "cell": 7}, index=NAMES),
        pd.DataFrame(POS, columns=["imagecol", "imagerow"], index=NAMES),
        csr_matrix(POS),
    ],
)
def test_positions_of_any_form(spatial: Any) -> None:
    adata = made(spatial)
    set_places(adata, PATH)
    np.testing.assert_array_equal(adata.obsm["spatial"], POS)
    assert adata.obsm["spatial"].dtype == np.float64


@pytest.mark.parametrize(
    ("spatial", "message"),
    [
        (np.c_[POS, np.arange(4)], "has a third coordinate that varies"),
        (np.c_[POS, POS], r"must be \[N, 2\].* got shape \[4, 4\]"),
        (np.where(POS == 150, np.nan, POS), r"hold finite numbers of at most 1e\+09, got \[nan, 50.0\] for spot 's2'"),
        (np.where(POS == 150, 1e308, POS), r"got \[1e\+308, 50.0\] for spot 's2'"),
        (POS[[0, 0, 0, 0]], "More than half of the spots share their position"),
    ],
)
def test_positions_that_are_not_clear_are_refused(spatial: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.h5ad: .*{message}"):
        set_places(made(spatial), PATH)


@pytest.mark.parametrize("dtype", ["int", "float", "category", "text", "text of floats"])
def test_array_places_of_any_type(dtype: str) -> None:
    column, row = np.array([3, 4, 3, 4]), np.array([5, 5, 6, 6])
    make: Any = {
        "int": lambda values: values,
        "float": lambda values: values.astype(float),
        "category": lambda values: pd.Categorical(values.astype(str)),
        "text": lambda values: values.astype(str),
        "text of floats": lambda values: values.astype(float).astype(str),
    }[dtype]
    adata = made(array_col=make(column), array_row=make(row))
    set_places(adata, PATH)
    assert adata.obs["array_col"].dtype == np.int64
    np.testing.assert_array_equal(adata.obs[["array_col", "array_row"]], np.c_[column, row])


@pytest.mark.parametrize("wrong", [-1, 0.5, np.nan, "A", 1e308])
def test_wrong_array_places_name_the_spot(wrong: Any) -> None:
    adata = made(array_col=pd.Series([0, wrong, 0, 1], dtype=object).to_numpy(), array_row=[0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"h5ad: obs\['array_col'\] must hold integers from 0, got .* for spot 's2'"):
        set_places(adata, PATH)


# Patients.


def test_two_patients_are_refused() -> None:
    assert patient_of(made(patient=pd.Categorical([1.0, 1.0, 1.0, 1.0])), PATH, "patient") == "1"
    assert patient_of(made(patient=[np.nan] * 4), PATH, "patient") is None
    with pytest.raises(ValueError, match=r"a\.h5ad: a section must be of one patient, obs\['patient'\] has 1, 2"):
        patient_of(made(patient=["1", "1.0", " 1", "2"]), PATH, "patient")
