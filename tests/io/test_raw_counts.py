"""Raw counts of an AnnData: where they are looked for, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from _helpers.four_spots import COUNTS, POS, made
from anndata import AnnData
from scipy.sparse import csr_matrix

from hist2st_pyg.io.raw_counts import with_counts


def normalized(**layers: Any) -> AnnData:
    adata = made(x=np.log1p(COUNTS))
    for name, matrix in layers.items():
        adata.layers[name] = matrix
    return adata


@pytest.mark.parametrize("name", ["counts", "raw_counts"])
def test_counts_of_a_layer_are_taken_where_x_is_normalized(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    adata = with_counts(normalized(**{name: csr_matrix(COUNTS), "scaled": COUNTS - 1}), None, "a.h5ad")
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    assert f"a.h5ad: X holds no raw counts (got 0.6931472); they are read from layers['{name}']" in caplog.text


def test_counts_of_raw_are_taken_where_x_is_normalized(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    adata = made()
    adata.raw = adata
    adata = adata[:, ["g1", "g3"]].copy()
    adata.X = np.log1p(adata.X)
    found = with_counts(adata, None, "a.h5ad")
    np.testing.assert_array_equal(found.X, COUNTS)
    assert list(found.var_names) == ["g1", "g2", "g3"]
    np.testing.assert_array_equal(found.obsm["spatial"], POS)
    assert "they are read from .raw" in caplog.text
    assert with_counts(adata, "raw", "a.h5ad").n_vars == 3


def test_counts_in_x_are_left_alone() -> None:
    adata = made()
    adata.layers["counts"] = COUNTS + 1
    np.testing.assert_array_equal(with_counts(adata, None, "a.h5ad").X, COUNTS)
    np.testing.assert_array_equal(with_counts(adata, "counts", "a.h5ad").X, COUNTS + 1)


def test_counts_that_are_not_clear_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.h5ad: X must hold raw counts, got .*there are none in .*layers: scaled"):
        with_counts(normalized(scaled=COUNTS - 1), None, "a.h5ad")
    with pytest.raises(ValueError, match=r"a\.h5ad: .*'counts' and 'raw_counts' hold different ones; .*counts_layer"):
        with_counts(normalized(counts=COUNTS, raw_counts=COUNTS + 1), None, "a.h5ad")
    np.testing.assert_array_equal(with_counts(normalized(counts=COUNTS, raw_counts=COUNTS), None, "a.h5ad").X, COUNTS)
    with pytest.raises(ValueError, match=r"a\.h5ad has no layer 'nope' for the counts; its layers: counts"):
        with_counts(normalized(counts=COUNTS), "nope", "a.h5ad")
    for wrong in (COUNTS > 0, np.where(COUNTS == 9, 3e38, COUNTS)):
        with pytest.raises(ValueError, match=r"a\.h5ad: X must hold raw counts, got"):
            with_counts(made(x=wrong), None, "a.h5ad")
