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
