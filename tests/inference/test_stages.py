"""What a model makes of a section's blocks, from patches or from features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.preset_models import GENES, model, predicted
from numpy.typing import NDArray

from hist2st_pyg import Section
from hist2st_pyg.data.spot_patches import SpotPatches
from hist2st_pyg.inference import predict_blocks


def test_only_a_block_and_its_surroundings_are_cut_at_a_time(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, section, asked = (
        model("ridge_neighbors", preprocessing={"k": 2}),
        cohort[0],
        list[NDArray[np.int64] | None](),
    )
    cut = SpotPatches.__call__

    def spy(self: SpotPatches, spots: NDArray[np.int64] | None = None) -> torch.Tensor:
        asked.append(spots)
        return cut(self, spots)

    monkeypatch.setattr(SpotPatches, "__call__", spy)
    predicted(built, section, block=6)
    assert len(asked) == 8
    assert all(spots is not None and 6 <= len(spots) <= 6 * 3 for spots in asked)


def test_each_patch_is_cut_and_encoded_once(cohort: list[Section]) -> None:
    built, cut = model("hist2st", gnn="sage", gnn_layers=2), []
    assert built.preprocessing is not None
    patches = built.preprocessing.section_patches(cohort[0])

    def counted(spots: Any) -> torch.Tensor:
        cut.extend(spots)
        return patches(spots)

    graph = built.preprocessing.build_graph(cohort[0].pos, cohort[0].grid)
    parts = predict_blocks(built, graph, counted, block=10).values["expression"]
    assert sorted(cut) == list(range(len(cohort[0])))
    np.testing.assert_allclose(parts, predicted(built, cohort[0], block=48).values["expression"], atol=1e-5)


@pytest.mark.parametrize("block", [100, 20])
def test_values_that_are_not_finite_are_refused(cohort: list[Section], block: int) -> None:
    built = model()
    built.target_std[1] = torch.nan
    n = len(cohort[0]) if block == 100 else 12  # of 48 spots, the first block of at most 20
    message = rf"^A1: {n} of {n * len(GENES)} values of 'expression' from the model Hist2ST are not finite\."
    with pytest.raises(ValueError, match=message):
        predicted(built, cohort[0], block=block, name="A1")


def test_an_error_in_a_block_comes_out(cohort: list[Section]) -> None:
    built = model("ridge")
    assert built.preprocessing is not None
    patches: Callable[..., Any] = built.preprocessing.section_patches(cohort[0])

    def broken(spots: NDArray[np.int64] | None) -> torch.Tensor:
        if spots is not None and 30 in spots:
            raise OSError("the disk is gone")
        return patches(spots)  # type: ignore[no-any-return]

    with pytest.raises(OSError, match="the disk is gone"):
        predict_blocks(built, built.preprocessing.build_graph(cohort[0].pos, cohort[0].grid), broken, block=8)
