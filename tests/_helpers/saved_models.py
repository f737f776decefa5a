"""A small model to save, and whether another has its weights."""

from __future__ import annotations

import torch

from hist2st_pyg import Hist2ST
from hist2st_pyg.models import ExpressionModel


def small(seed: int = 0) -> Hist2ST:
    torch.manual_seed(seed)
    return Hist2ST(
        3, patch_size=14, vision="cnn", vision_kwargs={"channels": (8,), "out_channels": 16}, transformer_layers=0,
        gnn="sage", gnn_layers=1,
    ).eval()  # fmt: skip


def same(first: ExpressionModel, second: ExpressionModel) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)
