"""A Hist2ST of few channels."""

from __future__ import annotations

from typing import Any

import torch

from hist2st_pyg import Hist2ST
from hist2st_pyg.data import SectionData

P = 14
SMALL: dict[str, Any] = {
    "patch_size": P,
    "vision_kwargs": {"channels": 16, "depth": 1, "kernel_size": 3},
    "transformer_layers": 1,
    "heads": 2,
    "dim_head": 8,
    "gnn_layers": 2,
}


def trained(model: Hist2ST, sections: list[SectionData]) -> Hist2ST:
    """The model with the statistics of these sections, as if it had been trained a little."""
    with torch.no_grad():
        for data in sections:
            model.train()(data)
    model.target_mean.uniform_(1, 3, generator=torch.Generator().manual_seed(1))
    model.target_std.uniform_(0.5, 1, generator=torch.Generator().manual_seed(2))
    return model.eval()
