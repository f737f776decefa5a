"""What a user chooses of a section's data is checked where it is chosen."""

from __future__ import annotations

from typing import Any

import pytest

from hist2st_pyg import Preprocessing
from hist2st_pyg.training import DataConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": "star"}, "Unknown graph='star'. Choose one of: delaunay, grid, knn, radius"),
        ({"graph": "radius"}, "graph='radius' needs radius; give it in graph_kwargs"),
        ({"graph": "delaunay", "graph_kwargs": {"k": 3}}, "graph='delaunay' has no argument 'k'; its arguments: none"),
        ({"prune": "far"}, "Unknown prune='far'. Choose one of: none, std"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    for make in (Preprocessing, DataConfig):
        genes: dict[str, Any] = {"genes": ("A",)} if make is Preprocessing else {}
        with pytest.raises(ValueError, match=message):
            make(**genes, **options)
