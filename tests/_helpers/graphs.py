"""The edges of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def edges(edge_index: NDArray[Any]) -> set[tuple[int, int]]:
    """(source, target) of each edge, none of them twice."""
    pairs = [(int(j), int(i)) for j, i in np.asarray(edge_index).T]
    assert len(set(pairs)) == len(pairs)
    return set(pairs)
