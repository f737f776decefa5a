"""A model without training, to be evaluated."""

from __future__ import annotations

from typing import Any

import torch

from hist2st_pyg import Hist2ST, Preprocessing
from hist2st_pyg.section import SectionRecord

GENES = ("GENE1", "GENE2", "GENE3", "GENE4", "ABSENT")


def build(likelihood: str | None = None, **preprocessing: Any) -> Hist2ST:
    torch.manual_seed(0)
    built = Hist2ST(
        len(GENES), patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16},
        transformer_layers=0, position="none", gnn="none", likelihood=likelihood,
    )  # fmt: skip
    built.preprocessing = Preprocessing(GENES, patch_size=28, pitch=64.0, **preprocessing)
    built.training_sections = {"train": [SectionRecord("A1", "GSE1/A", "given")], "val": []}
    return built.eval()
