from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _helpers.original_weights import recorded, write_checkpoint
from numpy.typing import NDArray
from torch import Tensor


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, NDArray[Any]], dict[str, Tensor]]:
    return recorded("hist2st_nb_max")


@pytest.fixture
def weights(golden: tuple[Any, dict[str, Tensor]]) -> dict[str, Tensor]:
    return dict(golden[1])


@pytest.fixture
def checkpoint(weights: dict[str, Tensor]) -> Path:
    return write_checkpoint(weights)
