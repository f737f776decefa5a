from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from hist2st_pyg.utils import rows


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_the_blocks_are_the_rows_in_order(convert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 3)
    values = np.arange(20.0).reshape(10, 2)
    blocks = [sparse.csr_matrix(block).toarray() for block in rows.row_blocks(convert(values))]
    assert [len(block) for block in blocks] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), values)


@pytest.mark.parametrize("shape", [(10, 7), (50, 3), (0, 4), (3, 0), (6, 2)])
def test_blocks_of_columns_are_all_columns(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "VALUES_AT_ONCE", 24)
    values = np.arange(shape[0] * shape[1]).reshape(shape)
    blocks = [values[:, of] for of in rows.column_blocks(*shape)]
    np.testing.assert_array_equal(np.concatenate([values[:, :0], *blocks], axis=1), values)
    assert all(block.size <= 24 or block.shape[1] == 1 for block in blocks)
