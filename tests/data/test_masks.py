"""Which spots of a section train and which validate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from hist2st_pyg.data.masks import training_spots, validation_spots

BOTH = pytest.mark.parametrize(
    ("spots", "own", "other"),
    [(training_spots, "train_mask", "val_mask"), (validation_spots, "val_mask", "train_mask")],
)
MASK = torch.tensor([True, False, True, False])


@BOTH
def test_they_are_those_of_their_own_mask_alone(spots: Callable[[Data], Tensor], own: str, other: str) -> None:
    data = Data(y=torch.zeros(4, 2), **{own: MASK, other: ~MASK})
    assert torch.equal(spots(data), MASK)
    together = spots(Batch.from_data_list([data, data]))
    assert torch.equal(together, torch.cat([MASK, MASK]))


@BOTH
def test_without_their_mask_they_are_all(spots: Callable[[Data], Tensor], own: str, other: str) -> None:
    found = spots(Data(y=torch.zeros(4, 2), **{other: MASK}))
    assert found.dtype == torch.bool
    assert found.tolist() == [True] * 4


@BOTH
def test_a_section_without_targets_has_as_many_as_positions(
    spots: Callable[[Data], Tensor], own: str, other: str
) -> None:
    """A streamed section's targets are made of the spots that are asked for."""
    assert spots(Data(pos=torch.zeros(5, 2))).tolist() == [True] * 5
