"""Download models from and upload them to the Hugging Face hub with huggingface_hub."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from hist2st_pyg.models.card import CARD, edited
from hist2st_pyg.models.packaged import hint, local_path
from hist2st_pyg.models.pretrained import CONFIG, WEIGHTS, is_hub_id, load_local, save_pretrained
from hist2st_pyg.models.saved import SavedModel
from hist2st_pyg.utils.optional import require_extra

logger = logging.getLogger(__name__)

Expected = TypeVar("Expected", bound=SavedModel)


def from_pretrained(
    expected: type[Expected],
    classes: Mapping[str, type[SavedModel]],
    name: str | Path,
    fetch: Mapping[str, Any],
    custom: Mapping[str, Any],
) -> Expected:
    """Load a model by path or id; see :meth:`ExpressionModel.from_pretrained`.

    Args:
        expected: The class of the model.
        classes: The classes of models by key.
        name: A path on this machine or the name of a packaged model; if there is neither, an id on the hub.
        fetch: The hub's options; ignored if the model is on this machine.
        custom: Classes and factories that a file cannot hold.
    """
    here = local_path(name).exists()
    if here and fetch["revision"] is not None:
        raise ValueError(f"{name} is on this machine, so revision={fetch['revision']!r} has no effect; remove it.")
    source = str(name) if here else f"{name} (Hugging Face hub)"
    return load_local(expected, classes, locate_model(name, fetch), source, custom)


def locate_model(name: str | Path, fetch: Mapping[str, Any] | None = None) -> Path:
    """Return the path of a model on this machine, after downloading it if the name is an id on the hub.

    Args:
        name: A path or the name of a packaged model; if there is neither, an id on the hub.
        fetch: The hub's options; ignored if the model is on this machine.

    Returns:
        The path, or the folder in the package or in the hub's cache.

    Raises:
        FileNotFoundError: If there is no such path, no such packaged model, and no such id.
        ImportError: If the model is on the hub and the ``hub`` extra is not installed.
    """
    if (path := local_path(name)).exists():
        return path
    if not is_hub_id(name):
        raise FileNotFoundError(f"There is no model at {name}, and it is not an id owner/name on the hub.{hint(name)}")
    try:
        return _fetch(str(name), fetch or {})
    except ImportError as error:
        error.msg = f"There is no model at {name}. If it is an id on the hub: {error.msg}"
        raise


def push_to_hub(
    model: SavedModel,
    repo_id: str,
    commit: Mapping[str, Any],
    private: bool | None = None,
    token: str | None = None,
    card: Mapping[str, Any] | None = None,
    overwrite_card: bool = False,
) -> str:
    """Upload a model; see :meth:`ExpressionModel.push_to_hub`.

    Args:
        model: The model.
        repo_id: ``"owner/name"``.
        commit: Message, branch and pull request, as ``HfApi.upload_folder`` takes them.
        private: Whether a new repository is private.
        token: The hub's token.
        card: Arguments of :func:`~hist2st_pyg.models.card.model_card`.
        overwrite_card: Write the card even if the hub's was edited by hand.
    """
    api = _hub().HfApi(token=token, library_name="hist2st_pyg")
    with tempfile.TemporaryDirectory() as temporary:
        # Write the model before any request to the hub: if saving fails, nothing was created there.
        folder = save_pretrained(model, Path(temporary) / "model", card, hub_id=repo_id)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        names = [WEIGHTS, CONFIG, CARD]
        if not overwrite_card and api.file_exists(repo_id, CARD, revision=commit["revision"]):
            where = {"revision": commit["revision"], "cache_dir": Path(temporary) / "cache"}
            if edited(Path(api.hf_hub_download(repo_id, CARD, **where))):
                logger.warning("%s: its card was edited and is kept; overwrite_card=True overwrites it.", repo_id)
                names.remove(CARD)
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=names, **commit))


def _fetch(repo_id: str, options: Mapping[str, Any]) -> Path:
    """Download the model unless the hub's cache holds it, and return its folder there."""
    hub = _hub()
    try:
        # Only the model's files: a repository may hold others.
        return Path(hub.snapshot_download(repo_id, allow_patterns=[WEIGHTS, CONFIG], **options))
    except (hub.errors.HfHubHTTPError, hub.errors.EntryNotFoundError, hub.errors.HFValidationError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"There is no model at {repo_id}, and this id could not be downloaded from the hub: {reason}"
        ) from error


def _hub() -> ModuleType:
    with require_extra("The Hugging Face hub", "huggingface_hub", "hub"):
        import huggingface_hub
        import huggingface_hub.errors
    return huggingface_hub
