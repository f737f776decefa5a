"""A small Hist2ST of one SAGE layer with random weights."""

from __future__ import annotations

import torch

from hist2st_pyg import Hist2ST, Preprocessing

GENES = tuple(f"GENE{i}" for i in range(1, 7))


def model(likelihood: str | None = "zinb", **preprocessing: object) -> Hist2ST:
    """A model of six genes, with its preprocessing."""
    torch.manual_seed(0)
    vision = {"channels": [8], "out_channels": 16}
    built = Hist2ST(
        len(GENES), patch_size=28, vision="cnn", vision_kwargs=vision, transformer_layers=0, position="none",
        gnn="sage", gnn_layers=1, likelihood=likelihood,
    )  # fmt: skip
    built.preprocessing = Preprocessing(GENES, patch_size=28, pitch=64.0, um_per_pixel=3.0, **preprocessing)  # type: ignore[arg-type]
    return built.eval()
