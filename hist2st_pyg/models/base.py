"""What all models share: fitted statistics, the preprocessing of their data, what they read and are trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg import losses
from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models.saved import GeneTrust, Task
from hist2st_pyg.models.saving import Saving
from hist2st_pyg.section import SectionRecord


class ExpressionModel(nn.Module, Saving):
    """A model from a section's ``Data`` to expression.

    A subclass sets ``config`` to its own arguments, so that it can be built again, and writes ``forward``. With a
    ``key`` of its own it is one of ``MODELS`` and is loaded by that; else by its own ``from_pretrained``. ``task``
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
    remembers: bool = False
    """Whether :meth:`remember` needs the training sections."""

    def __init__(self, n_genes: int, n_scales: int = 1) -> None:
        super().__init__()
        if n_genes < 1:
            raise ValueError(f"n_genes is at least 1, got {n_genes}.")
        self.config: dict[str, Any] = {}
        self.preprocessing: Preprocessing | None = None
        self.training_sections: dict[str, list[SectionRecord]] = {}
        self.gene_trust: GeneTrust = {}
        # The paper's own setting is the identity: patches enter as 0 to 255, targets are not standardized.
        self.register_buffer("pixel_mean", torch.zeros(3 * n_scales))
        self.register_buffer("pixel_std", torch.ones(3 * n_scales))
        self.register_buffer("target_mean", torch.zeros(n_genes))
        self.register_buffer("target_std", torch.ones(n_genes))

    @property
    def genes(self) -> tuple[str, ...]:
        """The panel: the genes that the model predicts, in the order of its output.

        Raises:
            ValueError: If the model has no preprocessing.
        """
        return require_preprocessing(self).genes

    @property
    def uses_counts(self) -> bool:
        """Whether the model reads the counts of the section that it is given."""
        return self.task != "prediction"

    @property
    def num_hops(self) -> int | None:
        """How many edges of the graph away a spot may be that a spot's prediction reads; None where it reads them all.

        Spots that attend to each other (:attr:`attends`) are not counted. A model that does not say reads them all.
        """
        return None

    @property
    def attends(self) -> str | None:
        """The key of :data:`~hist2st_pyg.nn.ATTENTIONS` by which spots read others; None: by the graph alone."""
        return None

    @property
    def receptive_field(self) -> int | None:
        """The prediction of a spot is the same without the spots farther than this many edges; None: it needs all."""
        return None if self.attends is not None else self.num_hops

    @property
    def vision_stages(self) -> list[nn.Module]:
        """What encodes the patches: ``vision``, where the model has it."""
        vision = getattr(self, "vision", None)
        return [vision] if isinstance(vision, nn.Module) else []

    @property
    def section_features(self) -> Callable[[Data], Tensor] | None:
        """What of the patches the model standardizes within their section, a function to [n, F]; None: nothing."""
        return None

    @classmethod
    def upgrade_state(cls, state: Mapping[str, Tensor], version: int) -> dict[str, Tensor]:
        """The weights of a model that was saved in an earlier format, under today's names.

        Args:
            state: The weights as saved.
            version: The format.
        """
        return dict(state)

    def normalize(self, x: Tensor) -> Tensor:
        """Patches 0 to 255, [N, 3·S, P, P], by the training sections' color statistics."""
        self._check_patches(x)
        return (x.to(self.pixel_mean.dtype) - self.pixel_mean[:, None, None]).div_(self.pixel_std[:, None, None])

    def encode(self, encoder: nn.Module, data: Data) -> Tensor:
        """A vision stage's features [N, C] of what it takes: patches normalized or as pixels, or embeddings [N, D].

        A ``Data`` with the ``statistics`` [N, 27·S] of its patches spares the stage that takes them their computation.
        """
        takes = getattr(encoder, "takes", "normalized")
        if takes == "embeddings":
            if data.x.dim() != 2:
                raise ValueError(
                    f"The model reads precomputed embeddings [N, D], got {list(data.x.shape)}; name them by "
                    "data.embedding."
                )
            return encoder(data.x.float())  # type: ignore[no-any-return]
        if takes == "statistics" and data.get("statistics") is not None:
            return encoder(data.statistics)  # type: ignore[no-any-return]
        if takes in ("pixels", "statistics"):
            self._check_patches(data.x)
            return encoder(data.x)  # type: ignore[no-any-return]
        return encoder(self.normalize(data.x))  # type: ignore[no-any-return]

    def features(self, data: Data) -> list[Tensor]:
        """What each vision stage makes of the patches, [N, C].

        Models with local attention or a likelihood take it as ``forward(data, features)``, and no ``x`` then.
        """
        return [self.encode(stage, data) for stage in self.vision_stages]

    def _check_patches(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != len(self.pixel_mean):
            raise ValueError(f"Patches are [N, {len(self.pixel_mean)}, P, P], got {list(x.shape)}.")

    def initialize(self, mean_expression: Tensor) -> None:
        """Set the initial weights that a model takes from its training sections; most take none.

        Args:
            mean_expression: The mean target of each gene over the training spots, [G].
        """

    def remember(self, train: Sequence[Data | SectionParts]) -> None:
        """Keep the training spots that predictions are looked up in, or fit what is fitted at once, before training.

        Training gives what cuts parts out of its sections, so that a large one need not be read whole:
        ``target_at`` and ``patches_at`` some spots, or ``whole()``. The package's models also take their ``Data``.

        Args:
            train: The training sections, whose statistics the model has.
        """

    def own_losses(self, out: dict[str, Tensor], data: Data, how: losses.Options) -> dict[str, Tensor] | None:
        """The losses by name of a model that has its own; None: it is trained on the error of its expression.

        Args:
            out: Its output in training.
            data: The sections of the step.
            how: How a difference of expression becomes a number.
        """
        return None

    def standardize(self, expression: Tensor) -> Tensor:
        """From log10 to standardized expression, [N, G]."""
        return (expression - self.target_mean) / self.target_std

    def unstandardize(self, standard: Tensor) -> Tensor:
        """From standardized to log10 expression, [N, G]."""
        return standard * self.target_std + self.target_mean


class ClosedFormModel(ExpressionModel, ABC):
    """A model that is fitted in one go from the training sections, not by gradient steps."""

    @abstractmethod
    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Fit to the training spots' targets, those that networks are trained on (``training_target``).

        What is to be chosen is chosen by the validation PCC with the targets as measured.

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


def require_preprocessing(model: ExpressionModel) -> Preprocessing:
    """The model's preprocessing, or an error that says how to set one."""
    if model.preprocessing is None:
        raise ValueError(
            "The model has no preprocessing (gene panel, patch size, graph), so it cannot be given an image; models "
            "trained by `hist2st train` have one, others get one by `model.preprocessing = Preprocessing(genes=...)`."
        )
    return model.preprocessing
