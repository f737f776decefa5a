"""Weights by the names of the original programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.models import HisToGene


def recorded(name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Tensor]]:
    """The arrays of a recorded program, and its weights by their original names."""
    with np.load(Path(__file__).parents[1] / "golden" / f"{name}.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, {n.removeprefix("state."): torch.from_numpy(v) for n, v in arrays.items() if n.startswith("state.")}


def write_checkpoint(weights: dict[str, Tensor]) -> Path:
    """As the original Hist2ST saves its weights."""
    torch.save(weights, "5-Hist2ST.ckpt")
    return Path("5-Hist2ST.ckpt")


def histogene_weights(**change: Any) -> dict[str, Tensor]:
    """Weights of a small HisToGene by the original's names."""
    torch.manual_seed(0)
    model = HisToGene(5, **{"patch_size": 14, "channels": 16, "transformer_layers": 2, "heads": 2, **change})
    names = {
        "vision.": "patch_embedding.", "transformer.position.column.": "x_embed.", "expression.": "gene_head.",
        "transformer.position.row.": "y_embed.",
    }  # fmt: skip
    block = {
        "attention.norm.": "0.norm.", "attention.qkv.": "0.fn.to_qkv.", "attention.out.": "0.fn.to_out.",
        "mlp.0.": "1.norm.", "mlp.1.": "1.fn.net.0.", "mlp.4.": "1.fn.net.3.",
    }  # fmt: skip
    names |= {
        f"transformer.blocks.{i}.{ours}": f"vit.transformer.layers.{i}.{theirs}"
        for i in range(2)
        for ours, theirs in block.items()
    }
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(("pixel_", "target_"))}
    return {theirs + n.removeprefix(ours): v for n, v in state.items() for ours, theirs in names.items() if ours in n}
