"""The methods by which a model is saved, and loaded from a folder or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hist2st_pyg.models import hub, pretrained
from hist2st_pyg.models.saved import SavedModel

Expected = TypeVar("Expected", bound=SavedModel)


class Saving:
    """Saves and loads a model; a class with a ``key`` is known by it."""

    key: ClassVar[str]
    keyed: ClassVar[dict[str, type[Any]]] = {}
    """The classes that have a key, by it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "key" in vars(cls):
            Saving.keyed[cls.key] = cls

    # Names and keywords of these three are those of huggingface_hub's mixin. It is no base class: whether it were one
    # would depend on what is installed, importing it takes 0.3 s, it takes a class's arguments from whatever is in
    # config.json, and its loading lets weights be missing or left over.
    def save_pretrained(
        self: SavedModel,
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
