from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hist2st_pyg.patients import patient_name


@pytest.mark.parametrize(
    "value",
    [1, 1.0, "1", " 1 ", "1.0", "1.", b"1", np.int64(1), np.float32(1), np.array(1), np.array(["1"]), np.array([1.0]),
     np.array([["1"]]), np.array([b"1"]), ["1", " 1"], pd.Categorical(["1", "1"]), pd.Series([1, 1])],
)  # fmt: skip
def test_one_patient_however_it_is_written(value: Any) -> None:
    assert patient_name(value, "here") == "1"


@pytest.mark.parametrize(
    "value", [None, "", "  ", np.nan, float("nan"), "nan", "None", "NA", "<NA>", pd.NA, pd.NaT, np.array([np.nan]), []]
)
def test_a_missing_patient_is_unknown(value: Any) -> None:
    assert patient_name(value, "here") is None


@pytest.mark.parametrize("name", ["P1", "01", "1.5", "1e3", "A 1", "Ä", "1.0.2"])
def test_other_names_stay(name: str) -> None:
    assert patient_name(name, "here") == name


@pytest.mark.parametrize("value", [True, np.bool_(False), {"a": 1}, float("inf"), np.array(["1", "2"]), ["1", None]])
def test_what_is_no_one_patient_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^here must be the name of (a|one) patient, got"):
        patient_name(value, "here")
