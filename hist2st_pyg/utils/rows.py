"""A matrix in blocks of rows, so that what is made of it takes little memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ROWS_AT_ONCE = 2**13
"""Rows of a block."""


def row_blocks(matrix: Any) -> Iterator[Any]:
    """The rows of a dense or sparse matrix, :data:`ROWS_AT_ONCE` at a time."""
    for start in range(0, matrix.shape[0], ROWS_AT_ONCE):
        yield matrix[start : start + ROWS_AT_ONCE]
