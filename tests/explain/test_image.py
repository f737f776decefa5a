"""Explanations of an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hist2st_pyg import Section
from hist2st_pyg.explain import (
    explain_image,
    find_spots,
)
from tests._helpers.explained import build, ready


def test_spots_by_name() -> None:
    names = ["10x11", "10x12", "7x7"]
    assert find_spots(names, ["7x7", "10x11", "7x7"]) == [2, 0]
    with pytest.raises(ValueError, match=r"There is no spot '10x1' among 3\. Did you mean 10x1"):
        find_spots(names, ["10x1"])
    with pytest.raises(ValueError, match=r"There is no spot 'ACGT' among 3\.$"):
        find_spots(names, ["ACGT"])


def test_an_image_s_highest_spots(cohort: list[Section]) -> None:
    model = ready(build(n_scales=1))
    section = replace(cohort[0])
    from hist2st_pyg import predict
    from hist2st_pyg.io.spots import Spots

    spots = Spots(list(section.adata.obs_names), section.pos, section.grid)
    explained = explain_image(model, section.require_image(), ["GENE3", "GENE1"], spots, top=2, pixels=0, device="cpu")
    expected = predict(model, section.require_image(), spots, device="cpu")
    assert [e.gene for e in explained.explanations] == ["GENE3", "GENE3", "GENE1", "GENE1"]
    for gene in ("GENE3", "GENE1"):
        values = expected[:, gene].X.ravel()
        best = [e for e in explained.explanations if e.gene == gene]
        np.testing.assert_allclose([e.predicted for e in best], np.sort(values)[::-1][:2], atol=1e-5)
        assert [e.name for e in best] == list(expected.obs_names[np.argsort(-values)[:2]])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda': no CUDA device was found; choose 'auto' or 'cpu'"):
            explain_image(model, section.require_image(), ["GENE3"], spots, ["3x3"], device="cuda")
    with pytest.raises(ValueError, match="top must be 1 spot per gene or more, got 0"):
        explain_image(model, section.require_image(), ["GENE3"], spots, top=0)
