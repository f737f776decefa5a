from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data

from hist2st_pyg import MODELS
from hist2st_pyg.data.spot_patches import rows_of
from hist2st_pyg.models import section_moments as module
from hist2st_pyg.models.section_moments import moments, section_moments, standardized

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) * 3 + 5


def test_each_section_is_standardized_by_itself() -> None:
    parts = [Data(x=X[:5], num_nodes=5), Data(x=X[5:], num_nodes=4)]
    found = standardized(X, Batch.from_data_list(parts))
    expected = [(x - x.mean(0)) / x.std(0, unbiased=False) for x in (X[:5], X[5:])]
    torch.testing.assert_close(found, torch.cat(expected))


def test_a_part_is_standardized_as_its_section() -> None:
    part = Data(x=X[:3], section_moments=moments(X), num_nodes=3)
    torch.testing.assert_close(standardized(X[:3], part), standardized(X, Data(x=X, num_nodes=9))[:3])


def test_the_rounding_of_a_feature_that_does_not_vary_is_not_blown_up() -> None:
    assert not standardized(torch.ones(4, 2), Data(x=X[:4], num_nodes=4)).any()
    white = torch.full((37, 2), 0.1)
    assert 0 < (white - moments(white)[:, :2]).abs().max() < 1e-7
    assert standardized(white, Data(x=white, num_nodes=37)).abs().max() < 1e-7


def test_the_moments_of_a_section_are_those_of_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATCHES_AT_ONCE", 4)
    patches = torch.randint(256, (9, 6, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    asked: list[int] = []

    def cut(spots: NDArray[np.int64] | None) -> Tensor:
        assert spots is not None
        asked.append(len(spots))
        return rows_of(patches)(spots)

    model = MODELS["kernel_ridge"](3, patch_size=12, n_scales=2, per_section=True, contrast=True)
    found = section_moments(model, 9, cut)
    assert found is not None
    assert asked == [4, 4, 1]
    torch.testing.assert_close(found, moments(model.own_features(Data(x=patches))))  # type: ignore[operator]
    for plain in (MODELS["kernel_ridge"](3, patch_size=12, n_scales=2), MODELS["mean"](3)):
        assert section_moments(plain, 9, cut) is None
    assert asked == [4, 4, 1]
