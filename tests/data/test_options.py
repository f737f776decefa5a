"""What a user chooses of a section's data is checked where it is chosen."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import pytest

from hist2st_pyg import Preprocessing
from hist2st_pyg.data.graph import GRAPHS
from hist2st_pyg.data.options import DataOptions
from hist2st_pyg.training import DataConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph": "star"}, "Unknown graph='star'. Choose one of: " + ", ".join(sorted(GRAPHS))),
        ({"graph": "radius"}, "graph='radius' needs radius; set it in graph_kwargs"),
        ({"graph": "delaunay", "graph_kwargs": {"k": 3}}, "graph='delaunay' has no argument 'k'; its arguments: none"),
        ({"prune": "far"}, "Unknown prune='far'. Choose one of: none, std"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused_at_once(options: dict[str, Any], message: str) -> None:
    for make in (Preprocessing, DataConfig):
        genes: dict[str, Any] = {"genes": ("A",)} if make is Preprocessing else {}
        with pytest.raises(ValueError, match=message):
            make(**genes, **options)


def test_lists_of_a_file_are_as_tuples() -> None:
    assert DataOptions(scales=[1.0, 2.5]) == DataOptions(scales=(1.0, 2.5))  # type: ignore[arg-type]
    assert hash(DataOptions(scales=[1.0])) == hash(DataOptions())  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", [DataConfig, Preprocessing])
def test_options_are_told_without_what_a_subclass_adds(cls: Any) -> None:
    chosen = {"patch_size": 28, "patch_pitch": 1.5, "k": 6, "stain": "macenko", "graph_kwargs": {}}
    genes = {"genes": ("A",)} if cls is Preprocessing else {}
    options = cls(**genes, **chosen).data_options()
    assert options == {**asdict(DataOptions()), **chosen}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_size": 0}, "data.patch_size must be at least 1, got 0."),
        ({"patch_size": 4097}, "data.patch_size must be at most 4096 pixels, got 4097; set the field of view"),
        ({"patch_um": 0.01}, "data.patch_um must be from 0.1 to 100000, got 0.01."),
        ({"patch_pitch": 0}, "data.patch_pitch must be above 0, got 0."),
        ({"patch_um": 50.0, "patch_pitch": 1.0}, "patch_um or patch_pitch, got both: 50.0 and 1.0."),
        ({"scales": ()}, "data.scales must hold at least one number, got ()."),
        ({"k": 1001}, "data.k must be at most 1000, got 1001; use more layers."),
        ({"max_distance": -1.0}, "data.max_distance must be above 0, got -1.0."),
        ({"coord_type": "grid"}, "Unknown coord_type='grid'. Choose one of: array, pixel."),
        ({"stain": "vahadane"}, "Unknown stain='vahadane'. Choose one of: "),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_by_their_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DataOptions(**options)
