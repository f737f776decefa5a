from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

from hist2st_pyg import Section
from hist2st_pyg.data.copies import refuse_copies


def section_of(adata: AnnData, name: str = "X", patient: str | None = None) -> Section:
    return Section(name, patient, adata)


def shuffled(adata: AnnData) -> AnnData:
    rng = np.random.default_rng(0)
    return adata[rng.permutation(adata.n_obs)][:, rng.permutation(adata.n_vars)].copy()


def as_type(adata: AnnData, convert: Any) -> AnnData:
    changed = adata.copy()
    changed.X = convert(adata.X.toarray())
    return changed


def with_spot(adata: AnnData) -> AnnData:
    changed = as_type(adata, np.asarray)
    changed.X[:10] += 1
    return changed


COPIES = {
    "as it is": AnnData.copy,
    "in another order": shuffled,
    "dense": lambda adata: as_type(adata, np.asarray),
    "in columns": lambda adata: as_type(adata, csc_matrix),
    "of integers": lambda adata: as_type(adata, lambda x: csr_matrix(x.astype(np.int64))),
    "of fewer genes": lambda adata: adata[:, 3:17].copy(),
    "of fewer spots": lambda adata: adata[5:30].copy(),
    "with other spots": with_spot,
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_copy_is_noticed(cohort: list[Section], change: Any) -> None:
    copy = section_of(change(cohort[0].adata))
    with pytest.raises(ValueError, match=r"'A1' \(training\) and 'X' \(test\) have the same counts in .* two names"):
        refuse_copies({"training": cohort, "test": [copy]})


def test_other_sections_are_no_copies(cohort: list[Section], caplog: pytest.LogCaptureFixture) -> None:
    refuse_copies({section.name: [section] for section in cohort})
    half = cohort[0].adata
    refuse_copies({"training": [section_of(half[:24].copy(), "l")], "test": [section_of(half[24:].copy(), "r")]})
    refuse_copies({"training": [], "test": cohort[:1]})
    assert not caplog.records


@pytest.mark.parametrize("values", [1, 2, 4])
def test_counts_that_say_little_make_no_copies(values: int) -> None:
    """Few genes of few values, or empty spots, are equal by chance."""
    made = []
    for seed in range(2):
        counts = np.random.default_rng(seed).integers(values, size=(300, 2)).astype(np.float32)
        places = {"array_col": np.arange(300), "array_row": np.zeros(300, int)}
        adata = AnnData(counts, obs=places, obsm={"spatial": np.random.default_rng(seed).random((300, 2))})
        made.append(section_of(adata, f"S{seed}"))
    refuse_copies({"training": made[:1], "test": made[1:]})


def test_a_copy_in_one_part_is_told(cohort: list[Section], caplog: pytest.LogCaptureFixture) -> None:
    copy = replace(cohort[0], name="X")
    refuse_copies({"training": [*cohort, copy]})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'A1' (training) and 'X' (training) have the same counts in 48 of 48 spots" in record.getMessage()
    with pytest.raises(ValueError, match="one section under two names, of patients A and Q"):
        refuse_copies({"training": [*cohort, replace(copy, patient="Q")]})
    caplog.clear()
    refuse_copies({"training": [cohort[0], replace(copy, patient=None)]})
    assert len(caplog.records) == 1
