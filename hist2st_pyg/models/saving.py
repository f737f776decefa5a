"""The methods that save a model and load it from a folder or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hist2st_pyg.models import hub, pretrained
from hist2st_pyg.models.saved import SavedModel

Expected = TypeVar("Expected", bound=SavedModel)


class Saving:
    """Saves and loads a model; registers each subclass that has a ``key``."""

    key: ClassVar[str]
    keyed: ClassVar[dict[str, type[Any]]] = {}
    """Registered classes, by key."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "key" in vars(cls):
            Saving.keyed[cls.key] = cls

    # These three methods have the names and keywords of huggingface_hub's mixin. It is not a base class, because it is
    # an optional dependency, importing it takes 0.3 s, it passes anything in config.json to the constructor, and it
    # accepts missing and unexpected weights.
    def save_pretrained(
        self: SavedModel,
        save_directory: str | Path,
        *,
        model_card_kwargs: Mapping[str, Any] | None = None,
        overwrite_card: bool = False,
    ) -> Path:
        """Write ``model.safetensors``, ``config.json`` and a model card, ``README.md``, to a folder.

        Args:
            save_directory: The folder; it is created. An existing model in it is replaced.
            model_card_kwargs: Information for the card that the model does not have: ``license``, ``data``, ``split``,
                ``metrics``, ``notes``, ...; see :func:`~hist2st_pyg.models.card.model_card`.
            overwrite_card: Write the card even if the folder's was edited by hand.

        Returns:
            The folder.

        Raises:
            TypeError: If an argument of the model is neither JSON nor a class or factory.
            ValueError: If a weight is not finite.
        """
        return pretrained.save_pretrained(self, save_directory, model_card_kwargs, overwrite_card)

    @classmethod
    def from_pretrained(
        cls: type[Expected],
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **custom: Any,
    ) -> Expected:
        """Load a model of this class (``ExpressionModel``: of any class) from a folder, or by its id from the hub.

        Load a model of your own class by that class: ``MyModel.from_pretrained(folder)``.

        Args:
            pretrained_model_name_or_path: A path or name that :func:`~hist2st_pyg.models.load_model` accepts; if it
                does not exist on this machine, an id ``"owner/name"`` on the Hugging Face hub.
            revision: Branch, tag or commit on the hub.
            cache_dir: Folder of the hub's cache.
            token: The hub's token; None uses that of ``hf auth login``.
            force_download: Download even if the model is in the cache.
            local_files_only: Read the hub's model from the cache only.
            custom: Classes or factories that the model was built with, by argument: ``gnn=MyConv``.

        Returns:
            The model in eval mode, with its ``preprocessing``.

        Raises:
            FileNotFoundError: If there is no such model.
            ImportError: If the model is on the hub and the ``hub`` extra is not installed.
            ValueError: If the model is damaged or of another class, or a weight is missing, unexpected or of another
                shape.
        """
        fetch = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "force_download": force_download,
            "local_files_only": local_files_only,
        }
        return hub.from_pretrained(cls, Saving.keyed, pretrained_model_name_or_path, fetch, custom)

    def push_to_hub(
        self: SavedModel,
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
        """Upload the model to a repository on the Hugging Face hub; the repository is created if needed.

        Args:
            repo_id: ``"owner/name"``.
            commit_message: The commit's message.
            private: Create it private; None uses the owner's default.
            token: The hub's token; None uses that of ``hf auth login``.
            branch: The branch; None is the main one.
            create_pr: Open a pull request instead.
            model_card_kwargs: As in :meth:`save_pretrained`.
            overwrite_card: Write the card even if the hub's was edited by hand.

        Returns:
            The commit's URL.

        Raises:
            ImportError: If the ``hub`` extra is not installed.
        """
        commit = {"commit_message": commit_message, "revision": branch, "create_pr": create_pr}
        return hub.push_to_hub(self, repo_id, commit, private, token, model_card_kwargs, overwrite_card)
