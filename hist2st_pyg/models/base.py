"""The base classes of all models, with their fitted statistics, preprocessing, inputs and losses."""

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
    """A model that predicts expression from a section's ``Data``.

    A subclass sets ``config`` to its arguments, so that loading can rebuild it, and implements ``forward``. With a
    ``key`` it is registered in ``MODELS`` and loaded by that key; otherwise by its own ``from_pretrained``. ``task``
    states the input: ``"prediction"`` reads images, ``"interpolation"`` also the expression of the section's other
    spots, ``"diagnostic"`` part of the spot's own counts. Results report the last two as separate tasks.

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
            raise ValueError(f"n_genes must be at least 1, got {n_genes}.")
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
        """The number of graph hops over which a spot's prediction reads other spots; None: all spots.

        Attention between spots (:attr:`attends`) is not counted. The default is None.
        """
        return None

    @property
    def attends(self) -> str | None:
        """The key of :data:`~hist2st_pyg.nn.ATTENTIONS` of the attention between spots; None: the graph alone."""
        return None

    @property
    def receptive_field(self) -> int | None:
        """The number of hops beyond which other spots do not change a spot's prediction; None: all spots can."""
        return None if self.attends is not None else self.num_hops

    @property
    def vision_stages(self) -> list[nn.Module]:
        """The modules that encode the patches: ``vision``, if the model has it."""
        vision = getattr(self, "vision", None)
        return [vision] if isinstance(vision, nn.Module) else []

    @property
    def section_features(self) -> Callable[[Data], Tensor] | None:
        """The function to the features [n, F] that the model standardizes within each section, or None."""
        return None

    @classmethod
    def upgrade_state(cls, state: Mapping[str, Tensor], version: int) -> dict[str, Tensor]:
        """Rename the weights of a model that was saved in an earlier format to the current names.

        Args:
            state: The weights as saved.
            version: The format's version.
        """
        return dict(state)

    def normalize(self, x: Tensor) -> Tensor:
        """Standardize patches [N, 3·S, P, P], 0 to 255, by the training sections' color statistics."""
        self._check_patches(x)
        return (x.to(self.pixel_mean.dtype) - self.pixel_mean[:, None, None]).div_(self.pixel_std[:, None, None])

    def encode(self, encoder: nn.Module, data: Data) -> Tensor:
        """Compute a vision stage's features [N, C] from its kind of input: normalized patches, pixels or embeddings.

        A stage that takes ``statistics`` [N, 27·S] reads them from the ``Data`` if they are already computed.
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
        """Compute each vision stage's features of the patches, [N, C].

        Models with local attention or a likelihood accept them as ``forward(data, features)``, without ``data.x``.
        """
        return [self.encode(stage, data) for stage in self.vision_stages]

    def _check_patches(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != len(self.pixel_mean):
            raise ValueError(f"Patches are [N, {len(self.pixel_mean)}, P, P], got {list(x.shape)}.")

    def initialize(self, mean_expression: Tensor) -> None:
        """Set the initial weights that depend on the training sections; most models have none.

        Args:
            mean_expression: The mean target of each gene over the training spots, [G].
        """

    def remember(self, train: Sequence[Data | SectionParts]) -> None:
        """Store the training spots that predictions retrieve, or fit closed-form parts, before training.

        Training passes ``SectionParts``, so that large sections are not read whole: ``target_at`` and ``patches_at``
        of some spots, or ``whole()``. The package's models also accept ``Data``.

        Args:
            train: The training sections, whose statistics are already set in the model.
        """

    def own_losses(self, out: dict[str, Tensor], data: Data, how: losses.Options) -> dict[str, Tensor] | None:
        """Compute the model's own losses by name; None: the model is trained on the error of its expression.

        Args:
            out: The model's output in training.
            data: The sections of the step.
            how: The loss function, scale and reduction of the expression error.
        """
        return None

    def standardize(self, expression: Tensor) -> Tensor:
        """Convert log10 to standardized expression, [N, G]."""
        return (expression - self.target_mean) / self.target_std

    def unstandardize(self, standard: Tensor) -> Tensor:
        """Convert standardized to log10 expression, [N, G]."""
        return standard * self.target_std + self.target_mean


class ClosedFormModel(ExpressionModel, ABC):
    """A model that is fitted in closed form to the training sections, without gradient steps."""

    @abstractmethod
    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Fit to the training spots' targets, those that networks are trained on (``training_target``).

        Hyperparameters are chosen by the validation PCC with the measured targets.

        Args:
            train: The training sections; with ``train_mask`` if squares of them are held out.
            val: The validation sections, possibly none; with ``val_mask`` if they are the training sections.
        """


def section_ptr(data: Data) -> list[int]:
    """The row offsets of the sections in a ``Data`` or ``Batch``: [0, ..., N]."""
    if data.get("ptr") is not None:
        return [int(i) for i in data.ptr.tolist()]
    if data.get("batch") is not None and data.batch is not None:
        return [0, *torch.bincount(data.batch).cumsum(0).tolist()]
    return [0, int(data.num_nodes or 0)]


def require_preprocessing(model: ExpressionModel) -> Preprocessing:
    """Return the model's preprocessing, or raise a ValueError that says how to set it."""
    if model.preprocessing is None:
        raise ValueError(
            "The model has no preprocessing (gene panel, patch size, graph), so it cannot read an image; train it by "
            "`hist2st train`, or set `model.preprocessing = Preprocessing(genes=...)`."
        )
    return model.preprocessing
