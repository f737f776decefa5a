"""What all models share: fitted statistics, the recipe of their data, and saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.data.convert import Recipe
from hist2st_pyg.nn.vision import MultiScale

Task = Literal["prediction", "interpolation", "diagnostic"]


class ExpressionModel(nn.Module):
    """A model from a section's ``Data`` to expression.

    A subclass sets ``config`` to its own arguments, so that it can be built again, and writes ``forward``. ``task``
    says what it does: ``"prediction"`` reads images, ``"interpolation"`` also the expression of the section's other
    spots, ``"diagnostic"`` something of the spot's own counts. The last two are other tasks, and results say so.

    Args:
        n_genes: Number of genes, G.
        n_scales: Number of fields of view in a patch's channels, S.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    task: ClassVar[Task] = "prediction"

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

    @property
    def uses_counts(self) -> bool:
        """Whether the model reads the counts of the section that it is given."""
        return self.task != "prediction"

    def normalise(self, x: Tensor) -> Tensor:
        """Patches 0 to 255, [N, 3·S, P, P], by the training sections' colour statistics."""
        self._check_patches(x)
        return (x.to(self.pixel_mean.dtype) - self.pixel_mean[:, None, None]) / self.pixel_std[:, None, None]

    def encode(self, encoder: nn.Module, data: Data) -> Tensor:
        """A vision stage's features [N, C] of what it takes: patches normalised or as pixels, or embeddings [N, D]."""
        takes = getattr(encoder, "takes", "normalised")
        if takes == "embeddings":
            if data.x.dim() != 2:
                raise ValueError(
                    f"The model reads precomputed embeddings [N, D], got {list(data.x.shape)}; name them by "
                    "data.embedding."
                )
            return encoder(data.x.float())  # type: ignore[no-any-return]
        if takes == "pixels":
            self._check_patches(data.x)
            return encoder(data.x)  # type: ignore[no-any-return]
        return encoder(self.normalise(data.x))  # type: ignore[no-any-return]

    def _check_patches(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != len(self.pixel_mean):
            raise ValueError(f"Patches are [N, {len(self.pixel_mean)}, P, P], got {list(x.shape)}.")

    def unstandardise(self, standard: Tensor) -> Tensor:
        """From standardised to log10 expression, [N, G]."""
        return standard * self.target_std + self.target_mean

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the model as a folder of ``model.safetensors`` and ``config.json``; see :func:`load_model`."""
        from hist2st_pyg.models.pretrained import save_pretrained

        return save_pretrained(self, folder)


def rebuild_arguments(encoder: nn.Module, given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The arguments that build an encoder again without fetching weights, which a saved model brings itself."""
    arguments: dict[str, Any] | None = getattr(first_encoder(encoder), "arguments", given)
    return arguments


def first_encoder(encoder: nn.Module) -> nn.Module:
    """The encoder, or that of the first field of view."""
    return encoder.encoders[0] if isinstance(encoder, MultiScale) else encoder


class FittedModel(ExpressionModel, ABC):
    """A model that is fitted in one go from the training sections, not by gradient steps."""

    @abstractmethod
    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Fit to the training spots; what is to be chosen is chosen by the validation PCC.

        Args:
            train: The training sections; with ``train_mask`` where squares of them are held out.
            val: The sections that validate, empty where none do; with ``val_mask`` where they are the same sections.
        """


def section_ptr(data: Data) -> list[int]:
    """Where each section of a ``Data`` or ``Batch`` begins and ends: [0, ..., N]."""
    if data.get("ptr") is not None:
        return [int(i) for i in data.ptr.tolist()]
    if data.get("batch") is not None and data.batch is not None:
        return [0, *torch.bincount(data.batch).cumsum(0).tolist()]
    return [0, int(data.num_nodes or 0)]
