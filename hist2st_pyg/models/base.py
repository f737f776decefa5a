"""What all models share: fitted statistics, the preprocessing of their data, and saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg import losses
from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models import hub, pretrained
from hist2st_pyg.models.saved import GeneTrust, Task
from hist2st_pyg.section import SectionRecord


class ExpressionModel(nn.Module):
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
    key: ClassVar[str]
    task: ClassVar[Task] = "prediction"
    keyed: ClassVar[dict[str, type[ExpressionModel]]] = {}
    """The classes that have a key, by it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "key" in vars(cls):
            ExpressionModel.keyed[cls.key] = cls

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
        """What each vision stage makes of the patches, [N, C]; models with local attention take it in ``forward``."""
        return [self.encode(stage, data) for stage in self.vision_stages]

    def _check_patches(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != len(self.pixel_mean):
            raise ValueError(f"Patches are [N, {len(self.pixel_mean)}, P, P], got {list(x.shape)}.")

    def initialize(self, mean_expression: Tensor) -> None:
        """Set the initial weights that a model takes from its training sections; most take none.

        Args:
            mean_expression: The mean target of each gene over the training spots, [G].
        """

    @property
    def remembers(self) -> bool:
        """Whether :meth:`remember` needs the training sections."""
        return False

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

    # Names and keywords of these three are those of huggingface_hub's mixin. It is no base class: whether it were one
    # would hang on what is installed, importing it takes 0.3 s, it takes a class's arguments from whatever is in
    # config.json, and its loading lets weights be missing or left over.
    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        model_card_kwargs: Mapping[str, Any] | None = None,
        overwrite_card: bool = False,
    ) -> Path:
        """Write ``model.safetensors``, ``config.json`` and a model card, ``README.md``, to a folder.

        Args:
            save_directory: The folder; it is created. A model in it is replaced.
            model_card_kwargs: What the card cannot know by itself: ``license``, ``data``, ``split``, ``metrics``,
                ``notes``, ...; see :func:`~hist2st_pyg.models.card.model_card`.
            overwrite_card: Write the card even where the folder's was changed by hand.

        Returns:
            The folder.

        Raises:
            TypeError: If an argument of the model is neither plain nor a class or factory.
            ValueError: If a weight is not finite.
        """
        return pretrained.save_pretrained(self, save_directory, model_card_kwargs, overwrite_card)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **custom: Any,
    ) -> Self:
        """Load a model of this class (``ExpressionModel``: of any) from a folder, or by its id from the hub.

        A class of your own is loaded by itself: ``MyModel.from_pretrained(folder)``.

        Args:
            pretrained_model_name_or_path: What :func:`~hist2st_pyg.models.load_model` reads, or an id ``"owner/name"``
                on the Hugging Face hub where there is nothing of that name on this machine.
            revision: Branch, tag or commit on the hub.
            cache_dir: Folder of the hub's cache.
            token: The hub's token; None takes that of ``hf auth login``.
            force_download: Fetch again what is in the cache.
            local_files_only: Take the hub's model from the cache alone.
            custom: The class or factory of a model that was built with one, by argument: ``gnn=MyConv``.

        Returns:
            The model in eval mode, with its ``preprocessing``.

        Raises:
            FileNotFoundError: If there is no such model.
            ImportError: If the hub is asked without the ``hub`` extra.
            ValueError: If the model is damaged or of another class, or a weight is missing, left over or of another
                shape.
        """
        fetch = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "force_download": force_download,
            "local_files_only": local_files_only,
        }
        return hub.from_pretrained(cls, cls.keyed, pretrained_model_name_or_path, fetch, custom)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Push model using hist2st_pyg.",
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
        overwrite_card: bool = False,
    ) -> str:
        """Save the model to a repository on the Hugging Face hub, which is created where there is none.

        Args:
            repo_id: ``"owner/name"``.
            commit_message: The commit's message.
            private: Create it private; None as the owner's setting is.
            token: The hub's token; None takes that of ``hf auth login``.
            branch: The branch; None is the main one.
            create_pr: Open a pull request instead.
            model_card_kwargs: As in :meth:`save_pretrained`.
            overwrite_card: Write the card even where the hub's was changed by hand.

        Returns:
            The commit's address.

        Raises:
            ImportError: If the ``hub`` extra is not installed.
        """
        commit = {"commit_message": commit_message, "revision": branch, "create_pr": create_pr}
        return hub.push_to_hub(self, repo_id, commit, private, token, model_card_kwargs, overwrite_card)


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
    """The model's preprocessing, or an error that says how a model comes by one."""
    if model.preprocessing is None:
        raise ValueError(
            "The model has no preprocessing (gene panel, patch size, graph), so it cannot be given an image; models "
            "trained by `hist2st train` have one, others get one by `model.preprocessing = Preprocessing(genes=...)`."
        )
    return model.preprocessing
