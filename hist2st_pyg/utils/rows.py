"""Blocks of the rows or columns of a matrix, which limit memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 2**13
"""Rows of a block."""

VALUES_AT_ONCE = 2**23
"""Values of a block of columns, 64 MB in double precision."""


def row_blocks(matrix: Any) -> Iterator[Any]:
    """The rows of a dense or sparse matrix, :data:`ROWS_AT_ONCE` at a time."""
    for start in range(0, matrix.shape[0], ROWS_AT_ONCE):
        yield matrix[start : start + ROWS_AT_ONCE]


def column_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """The columns in blocks of at most :data:`VALUES_AT_ONCE` values, or of one column if it has more."""
    step = max(1, VALUES_AT_ONCE // max(n_rows, 1))
    for start in range(0, n_columns, step):
        yield slice(start, min(start + step, n_columns))
