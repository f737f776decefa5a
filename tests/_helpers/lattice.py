"""Positions of spots on a lattice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lattice(columns: int, rows: int, hexagonal: bool = False) -> NDArray[np.float64]:
    places = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(float)
    shifted = np.column_stack([places[:, 0] + 0.5 * (places[:, 1] % 2), places[:, 1] * np.sqrt(3) / 2])
    return 100 * (shifted if hexagonal else places)
