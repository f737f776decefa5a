"""Saving a model as safetensors and JSON, and loading it without executing anything from the file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models.card import CARD, edited, model_card
from hist2st_pyg.models.formats import FORMAT, READ, upgrade_description, upgrade_weights
from hist2st_pyg.models.saved import GeneTrust, SavedModel
from hist2st_pyg.models.training_sections import plain_sections, read_training_sections
from hist2st_pyg.utils.files import write_json, write_text
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.safe_load import read_tensors
from hist2st_pyg.utils.staging import staged

logger = logging.getLogger(__name__)

Expected = TypeVar("Expected", bound=SavedModel)
Built = TypeVar("Built", bound=SavedModel)
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def describe(model: SavedModel) -> dict[str, Any]:
    """Everything but the weights: what ``config.json`` and a checkpoint hold.

    A layer or encoder given as a class or factory is noted by name; loading asks for it again.
    """
    key = vars(type(model)).get("key", type(model).__name__)
    return {
        "format": FORMAT,
        "model": key,
        "arguments": {name: _argument(name, value) for name, value in model.config.items()},
        "preprocessing": model.preprocessing.to_dict() if model.preprocessing is not None else None,
        "training_sections": plain_sections(model.training_sections),
        # Models of before it, and checkpoints, have none.
        **({"gene_trust": model.gene_trust} if model.gene_trust else {}),
    }


def _argument(name: str, value: Any) -> Any:
    if callable(value):
        return {"custom": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"}
    try:
        json.dumps(value)
    except TypeError as error:
        raise TypeError(
            f"{name}={value!r} cannot be written to {CONFIG}: {error}. Put it into a factory, and pass that."
        ) from error
    return value


def save_pretrained(
    model: SavedModel,
    folder: str | Path,
    card: Mapping[str, Any] | None = None,
    overwrite_card: bool = False,
    hub_id: str | None = None,
) -> Path:
    """Write a model to a folder; see :meth:`ExpressionModel.save_pretrained`.

    Args:
        model: The model.
        folder: The folder; it is created. An existing model in it is replaced.
        card: What :func:`~hist2st_pyg.models.card.model_card` is told.
        overwrite_card: Write the card even where the folder's was changed by hand.
        hub_id: The id by which the card says that the model is loaded, where it is for the hub.

    Raises:
        TypeError: If an argument of the model is neither plain nor a class or factory, or one of the card is unknown.
        ValueError: If a weight is not finite.
    """
    from safetensors.torch import save

    folder = Path(folder)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    _check_finite(state, str(folder))
    description = describe(model)
    text = model_card(model, description, hub_id or folder.resolve().name, hub=hub_id is not None, **(card or {}))
    names = [WEIGHTS, CONFIG]
    if overwrite_card or not edited(folder / CARD):
        names.append(CARD)
    else:
        logger.warning("%s was changed by hand and stays; overwrite_card=True writes it.", folder / CARD)
    # All files are complete before the first takes its place.
    with staged(folder / WEIGHTS) as temporary:
        # By Python's file, whose errors are the operating system's.
        (temporary / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))
        write_json(temporary / CONFIG, description)
        write_text(temporary / CARD, text)
        for name in names:
            (temporary / name).replace(folder / name)
    return folder


def load_local(
    expected: type[Expected],
    classes: Mapping[str, type[SavedModel]],
    path: str | Path,
    source: str,
    custom: Mapping[str, Any],
) -> Expected:
    """Load a model of a class from this machine; see :func:`~hist2st_pyg.models.load_model`.

    Args:
        expected: The class; a model of another is refused.
        classes: The classes of models by key.
        path: The folder or checkpoint.
        source: Its name in errors.
        custom: As in :func:`~hist2st_pyg.models.load_model`.
    """
    path = Path(path)
    if path.is_dir():
        folder = path if (path / CONFIG).is_file() else path / "model"
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"{source} is not a saved model: it has no {CONFIG} and {WEIGHTS}.")
        description, state = _read_folder(folder, source)
    elif path.is_file():
        description, state = read_checkpoint(path)
    else:
        hub = " A model on the hub is loaded by ExpressionModel.from_pretrained." if is_hub_id(path) else ""
        raise FileNotFoundError(f"There is no model at {path}.{hub}")
    description = checked_description(description, source)
    key = description["model"]
    build = expected if key == expected.__name__ else resolve(classes, key, "model")
    model = rebuild(description, state, source, build, custom)
    if not isinstance(model, expected):
        raise ValueError(
            f"{source} holds a {type(model).__name__}, not a {expected.__name__}; load it by "
            f"{type(model).__name__}.from_pretrained, or any model by load_model."
        )
    return model


def is_hub_id(name: str | Path) -> bool:
    """Whether a name could be a model's on the hub, ``owner/name``."""
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(name)) is not None


def checked_description(description: Any, source: str) -> dict[str, Any]:
    """What :func:`describe` gave, of this version or an earlier one, under today's names.

    Raises:
        ValueError: If it is no description, or of another format.
    """
    if not isinstance(description, dict):
        raise ValueError(f"{source}: the saved model is damaged: its description is no mapping.")
    if description.get("format") not in READ:
        formats = f"{', '.join(map(str, READ[:-1]))} and {READ[-1]}"
        raise ValueError(f"{source}: model format {description.get('format')!r} is none of {formats}, those read here.")
    data = "recipe" if description["format"] < 3 else "preprocessing"
    if missing := sorted({"model", "arguments", data, "training_sections"} - set(description)):
        raise ValueError(f"{source}: the saved model is damaged: its description lacks {', '.join(missing)}.")
    return upgrade_description(description)


def rebuild(
    description: Mapping[str, Any],
    state: dict[str, Tensor],
    source: str,
    build: type[Built],
    custom: Mapping[str, Any],
) -> Built:
    """Build a model of a class from what :func:`describe` gave, and load its weights."""
    arguments = dict(description["arguments"])
    for name, value in arguments.items():
        if isinstance(value, dict) and set(value) == {"custom"} and name not in custom:
            raise ValueError(
                f"{source}: the model was built with {name}={value['custom']}, which a file cannot hold; "
                f"pass it again: load_model(..., {name}=...)."
            )
    if unknown := sorted(set(custom) - set(arguments)):
        raise TypeError(f"{source}: the model has no argument {unknown[0]!r} to pass again.")
    try:
        model = build(**{**arguments, **custom})
        preprocessing = None if description["preprocessing"] is None else Preprocessing(**description["preprocessing"])
    except TypeError as error:
        raise ValueError(f"{source}: the saved model is damaged, or of another version: {error}") from error
    if preprocessing is not None and len(preprocessing.genes) != arguments["n_genes"]:
        raise ValueError(f"{source}: the panel has {len(preprocessing.genes)} genes, the model {arguments['n_genes']}.")
    _check_finite(state, source)
    version = description["format"]
    state = build.upgrade_state(upgrade_weights(state, version), version)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{source}: the weights do not fit the model: {error}") from error
    model.preprocessing = preprocessing
    model.training_sections = read_training_sections(description["training_sections"], source)
    model.gene_trust = _gene_trust(description.get("gene_trust", {}), arguments["n_genes"], source)
    return model.eval()


def _gene_trust(saved: Any, n_genes: int, source: str) -> GeneTrust:
    if not isinstance(saved, dict) or any(not isinstance(v, list) or len(v) != n_genes for v in saved.values()):
        raise ValueError(f"{source}: the saved model is damaged: its gene_trust has not one value for each gene.")
    return saved


def _read_folder(folder: Path, source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8")), load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{source}: the saved model is damaged: {error}") from error


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a Lightning checkpoint of ours: the model's description and its weights."""
    checkpoint = read_tensors(path)
    if not isinstance(checkpoint, dict) or not {"description", "state_dict"} <= set(checkpoint):
        raise ValueError(f"{path} is not a checkpoint of hist2st_pyg.")
    weights = {n.removeprefix("model."): v for n, v in checkpoint["state_dict"].items() if n.startswith("model.")}
    return checkpoint["description"], weights


def _check_finite(state: dict[str, Tensor], source: str) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{source}: the weight {name} holds values that are not finite.")
