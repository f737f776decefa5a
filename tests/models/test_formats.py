"""Models that earlier versions saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hist2st_pyg import load_model
from hist2st_pyg.data import SectionData
from hist2st_pyg.models.pretrained import describe

GOLDEN = Path(__file__).parents[1] / "golden" / "saved_format_2"


def test_a_model_saved_in_format_2_predicts_what_it_did() -> None:
    """Its second stream was a whole Hist2ST, with buffers of its own that nothing read."""
    model = load_model(GOLDEN)
    with np.load(GOLDEN / "case.npz", allow_pickle=False) as case:
        arrays = {name: torch.from_numpy(case[name]) for name in case.files}
    out = {name.removeprefix("out."): arrays.pop(name) for name in list(arrays) if name.startswith("out.")}
    found = model(SectionData(**arrays))
    assert found.keys() == out.keys()
    for name, value in out.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
    assert describe(model)["format"] == 3
    assert describe(model)["arguments"]["published_likelihood"] is True
    assert model.likelihood.published is True
