"""What all models share: fitted statistics, the recipe of their data, and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.data.convert import Recipe


class ExpressionModel(nn.Module):
    """A model from a section's ``Data`` to expression.

    A subclass sets ``config`` to its own arguments, so that it can be built again, and writes ``forward``.

    Args:
        n_genes: Number of genes, G.
        n_scales: Number of fields of view in a patch's channels, S.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, n_genes: int, n_scales: int = 1) -> None:
        super().__init__()
        if n_genes < 1:
            raise ValueError(f"n_genes is at least 1, got {n_genes}.")
        self.config: dict[str, Any] = {}
        self.recipe: Recipe | None = None
        self.training_sections: dict[str, list[str]] = {}
        # The paper's own setting is the identity: patches enter as 0 to 255, targets are not standardised.
        self.register_buffer("pixel_mean", torch.zeros(3 * n_scales))
        self.register_buffer("pixel_std", torch.ones(3 * n_scales))
        self.register_buffer("target_mean", torch.zeros(n_genes))
        self.register_buffer("target_std", torch.ones(n_genes))

    def normalise(self, x: Tensor) -> Tensor:
        """Patches 0 to 255, [N, 3·S, P, P], by the training sections' colour statistics."""
        if x.dim() != 4 or x.shape[1] != len(self.pixel_mean):
            raise ValueError(f"Patches are [N, {len(self.pixel_mean)}, P, P], got {list(x.shape)}.")
        return (x.to(self.pixel_mean.dtype) - self.pixel_mean[:, None, None]) / self.pixel_std[:, None, None]

    def unstandardise(self, standard: Tensor) -> Tensor:
        """From standardised to log10 expression, [N, G]."""
        return standard * self.target_std + self.target_mean

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model as a folder of ``model.safetensors`` and ``config.json``; see :func:`load_model`."""
        from hist2st_pyg.models.pretrained import save_pretrained

        return save_pretrained(self, folder)


def section_ptr(data: Data) -> list[int]:
    """Where each section of a ``Data`` or ``Batch`` begins and ends: [0, ..., N]."""
    if data.get("ptr") is not None:
        return [int(i) for i in data.ptr.tolist()]
    if data.get("batch") is not None and data.batch is not None:
        return [0, *torch.bincount(data.batch).cumsum(0).tolist()]
    return [0, int(data.num_nodes or 0)]
