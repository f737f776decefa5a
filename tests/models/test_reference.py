"""The training spots that a model keeps are spread evenly over its training sections, with their targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from hist2st_pyg.data import SectionData
from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.models.reference import measured_target, reference_expression, resize_buffers, spread_spots

NOTHING = torch.zeros(2, 0, dtype=torch.long)


def section(n: int, measured: tuple[bool, ...] = (True, True), trains: Tensor | None = None) -> SectionParts:
    y = torch.randn(n, 2, generator=torch.Generator().manual_seed(n))
    data = SectionData(y=y, gene_mask=torch.tensor(measured), pos=torch.zeros(n, 2), edge_index=NOTHING)
    if trains is not None:
        data.train_mask = trains
    return SectionParts(data)


@pytest.mark.parametrize("limit", [1, 2, 7, 19, 20, 1000])
def test_as_many_spots_as_the_limit_are_kept_at_even_distances(limit: int) -> None:
    trains = torch.arange(13) % 2 == 0
    sections = [section(13, trains=trains), section(5), section(8)]
    kept = spread_spots(sections, limit)
    # All spots that train, one after another.
    numbers = np.concatenate([np.flatnonzero(trains), 100 + np.arange(5), 200 + np.arange(8)])
    found = np.concatenate([100 * i + rows.numpy() for i, rows in enumerate(kept)])
    assert len(found) == min(limit, len(numbers))
    steps = np.diff(np.flatnonzero(np.isin(numbers, found)))
    assert np.isin(found, numbers).all()
    assert found[0] == numbers[0]
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    assert len(steps) == 0 or steps.min() == len(numbers) // len(found)  # to the last section's end


def test_a_gene_that_a_section_did_not_measure_is_at_its_mean_over_the_others() -> None:
    first, second = section(6, (False, True)), section(9)
    found = reference_expression([first, second], [torch.tensor([1, 4]), torch.tensor([0, 8])]).numpy()
    expected = np.vstack([first.data.y[[1, 4]], second.data.y[[0, 8]]])
    expected[:2, 0] = second.data.y[:, 0].numpy().mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_targets_of_a_batch_follow_each_section_s_own_genes() -> None:
    first, second = section(3, (True, False)).data, section(2, (False, True)).data
    first.y_denoised, second.y_denoised = first.y + 1, second.y + 1
    otherwise = torch.tensor([70.0, 80.0])
    expected = np.vstack([first.y + 1, second.y + 1])
    expected[:3, 1], expected[3:, 0] = 80, 70
    found = measured_target(Batch.from_data_list([first, second]), otherwise)
    np.testing.assert_array_equal(found.numpy(), expected.astype(np.float32))
    np.testing.assert_array_equal(measured_target(first, otherwise).numpy(), expected[:3].astype(np.float32))


def test_a_model_makes_room_for_as_many_spots_as_its_weights_hold() -> None:
    class Keeps(nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.register_buffer("reference", torch.ones(n, 2))
            self.register_buffer("features", torch.ones(n, 3, dtype=torch.float64))
            self.register_load_state_dict_pre_hook(resize_buffers("reference", "features"))

    saved, model = Keeps(5), nn.Sequential(Keeps(0))
    model.load_state_dict({f"0.{name}": value for name, value in saved.state_dict().items()})
    assert torch.equal(model[0].reference, saved.reference)
    assert torch.equal(model[0].features, saved.features)
    with pytest.raises(RuntimeError, match="size mismatch for features"):
        saved.load_state_dict({"reference": torch.ones(4, 2), "features": torch.ones(3, 3)})
