"""Save a model as safetensors and JSON, and load it without executing code from the files."""

from __future__ import annotations

import json
import logging
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from hist2st_pyg.models.card import CARD, Kept, edited, model_card
from hist2st_pyg.models.formats import FORMAT, READ, upgrade_description, upgrade_weights
from hist2st_pyg.models.packaged import hint, local_path
from hist2st_pyg.models.saved import SavedModel
from hist2st_pyg.models.saved_values import (
    UNUSABLE_ERRORS,
    check_finite,
    check_tensors,
    check_weights,
    largest_number,
    model_arguments,
    read_gene_trust,
    saved_preprocessing,
)
from hist2st_pyg.models.training_sections import plain_sections, read_training_sections
from hist2st_pyg.nn.weight_limit import as_large_as, weight_limit
from hist2st_pyg.utils.files import write_json, write_text
from hist2st_pyg.utils.json_files import check_kinds, read_json
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.safe_load import read_tensors
from hist2st_pyg.utils.staging import staged

logger = logging.getLogger(__name__)

Expected = TypeVar("Expected", bound=SavedModel)
Built = TypeVar("Built", bound=SavedModel)
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def describe(model: SavedModel) -> dict[str, Any]:
    """Describe the model without its weights: the content of ``config.json`` and of a checkpoint.

    A layer or encoder given as a class or factory is stored by name; the caller passes it again when loading.
    """
    key = vars(type(model)).get("key", type(model).__name__)
    return {
        "format": FORMAT,
        "model": key,
        "arguments": {name: _argument(name, value) for name, value in model.config.items()},
        "preprocessing": model.preprocessing.to_dict() if model.preprocessing is not None else None,
        "training_sections": plain_sections(model.training_sections),
        # Absent in checkpoints and in models of earlier versions.
        **({"gene_trust": model.gene_trust} if model.gene_trust else {}),
    }


def _argument(name: str, value: Any) -> Any:
    if callable(value):
        return {"custom": f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"}
    try:
        json.dumps(value)
    except TypeError as error:
        raise TypeError(
            f"{name}={value!r} cannot be written to {CONFIG}: {error}. Pass a factory that builds it instead."
        ) from error
    return value


def save_pretrained(
    model: SavedModel,
    folder: str | Path,
    card: Mapping[str, Any] | None = None,
    overwrite_card: bool = False,
    hub_id: str | None = None,
    packaged: bool = False,
) -> Path:
    """Write a model to a folder; see :meth:`ExpressionModel.save_pretrained`.

    Args:
        model: The model.
        folder: The folder; it is created. An existing model in it is replaced.
        card: Arguments of :func:`~hist2st_pyg.models.card.model_card`.
        overwrite_card: Write the card even if the folder's was edited by hand.
        hub_id: The hub id that the card's loading example uses; None for a local folder.
        packaged: Save for the package: matrices in half precision, and a card that loads the model by name.

    Raises:
        TypeError: If an argument of the model is neither JSON nor a class or factory, or one of the card is unknown.
        ValueError: If a weight is not finite.
    """
    from safetensors.torch import save

    folder = Path(folder)
    state = {name: _stored(value, packaged) for name, value in model.state_dict().items()}
    check_finite(state, str(folder))
    description = describe(model)
    kept: Kept = "hub" if hub_id is not None else "package" if packaged else "folder"
    text = model_card(model, description, hub_id or folder.resolve().name, kept=kept, **(card or {}))
    names = [WEIGHTS, CONFIG]
    if overwrite_card or not edited(folder / CARD):
        names.append(CARD)
    else:
        logger.warning("%s was edited and is kept; overwrite_card=True overwrites it.", folder / CARD)
    # All files are written before the first is moved to its final name.
    with staged(folder / WEIGHTS) as temporary:
        # Python's own file methods raise OSError with the operating system's reason; safetensors' do not.
        (temporary / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))
        write_json(temporary / CONFIG, description)
        write_text(temporary / CARD, text)
        for name in names:
            (temporary / name).replace(folder / name)
    return folder


def _stored(value: Tensor, packaged: bool) -> Tensor:
    """Convert a tensor to its saved precision: single instead of double, because models are built in single precision.

    In a packaged model, matrices are in half precision. Vectors (biases and statistics) are few numbers and stay in
    single precision, because half precision would shift them too much (the mean pixel color by 0.06).
    """
    value = value.detach().cpu().contiguous()
    if packaged and value.is_floating_point() and value.dim() > 1:
        return value.half()
    return value.float() if value.dtype == torch.float64 else value


def load_local(
    expected: type[Expected],
    classes: Mapping[str, type[SavedModel]],
    path: str | Path,
    source: str,
    custom: Mapping[str, Any],
) -> Expected:
    """Load a model of a given class from a local path; see :func:`~hist2st_pyg.models.load_model`.

    Args:
        expected: The class that the model must have.
        classes: The classes of models by key.
        path: The folder or checkpoint, or the name of a packaged model.
        source: Its name in errors.
        custom: As in :func:`~hist2st_pyg.models.load_model`.
    """
    path = local_path(path)
    if path.is_dir():
        folder = path if (path / CONFIG).is_file() else path / "model"
        if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"{source} is not a saved model: it has no {CONFIG} and {WEIGHTS}.")
        description, state = _read_folder(folder, source)
    elif path.is_file():
        description, state = read_checkpoint(path)
    else:
        hub = " Load a model from the hub by ExpressionModel.from_pretrained." if is_hub_id(path) else ""
        raise FileNotFoundError(f"There is no model at {path}.{hub or hint(path)}")
    description = checked_description(description, source)
    key = description["model"]
    try:
        build = expected if key == expected.__name__ else resolve(classes, key, "model")
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    model = rebuild(description, state, source, build, custom)
    if not isinstance(model, expected):
        raise ValueError(
            f"{source} holds a {type(model).__name__}, not a {expected.__name__}; load it by "
            f"{type(model).__name__}.from_pretrained, or any model by load_model."
        )
    return model


def is_hub_id(name: str | Path) -> bool:
    """Whether a name has the form of a hub id, ``owner/name``."""
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(name)) is not None


def checked_description(description: Any, source: str) -> dict[str, Any]:
    """Check a description of this or an earlier version, and convert it to the current names.

    Raises:
        ValueError: If it is not a description, or its format is not supported.
    """
    if not isinstance(description, dict):
        raise ValueError(f"{source}: the saved model is damaged: its description is not a mapping.")
    version = description.get("format")
    if type(version) is not int or version not in READ:
        formats = f"{', '.join(map(str, READ[:-1]))} and {READ[-1]}"
        raise ValueError(f"{source}: model format {version!r:.100} is not supported; this version reads {formats}.")
    data = "recipe" if version < 3 else "preprocessing"
    if missing := sorted({"model", "arguments", data, "training_sections"} - set(description)):
        raise ValueError(f"{source}: the saved model is damaged: its description lacks {', '.join(missing)}.")
    kinds = {**dict.fromkeys(description, Any), "model": str, "arguments": dict[str, Any], data: dict[str, Any] | None}
    check_kinds(description, kinds, f"{source}: the description")
    return upgrade_description(description)


def rebuild(
    description: Mapping[str, Any],
    state: dict[str, Tensor],
    source: str,
    build: type[Built],
    custom: Mapping[str, Any],
) -> Built:
    """Build a model of a class from its description, and load its weights.

    Files and addresses in the description are never opened: an encoder is built without pretrained weights.
    """
    version = description["format"]
    state = build.upgrade_state(upgrade_weights(check_tensors(state, source), version), version)
    arguments = model_arguments(build, description["arguments"], state, custom, source)
    preprocessing = saved_preprocessing(description["preprocessing"], arguments, source)
    largest = largest_number(description["arguments"])
    try:
        with weight_limit(f"its file holds less (the largest number is {largest})", **as_large_as(state)):
            model = build(**arguments)
    except UNUSABLE_ERRORS as error:
        raise ValueError(f"{source}: cannot build the model from its arguments: {_one_line(error)}") from error
    check_weights(state, model.state_dict(), source)
    try:
        model.load_state_dict(state, strict=True)
    except (LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"{source}: the weights do not fit the model: {_one_line(error)}") from error
    model.preprocessing = preprocessing
    model.training_sections = read_training_sections(description["training_sections"], source)
    model.gene_trust = read_gene_trust(description.get("gene_trust", {}), len(model.target_mean), source)
    return model.eval()


def _one_line(error: BaseException) -> str:
    return textwrap.shorten(str(error), 500, placeholder=" ...") or type(error).__name__


def _read_folder(folder: Path, source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return read_json(folder / CONFIG), load_file(folder / WEIGHTS)
    except (ValueError, SafetensorError) as error:
        raise ValueError(f"{source}: the saved model is damaged: {error}") from error


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the description and the weights of a model from a Lightning checkpoint of this package."""
    checkpoint = read_tensors(path)
    if not isinstance(checkpoint, dict) or not {"description", "state_dict"} <= set(checkpoint):
        raise ValueError(f"{path} is not a checkpoint of hist2st_pyg.")
    state = check_tensors(checkpoint["state_dict"], str(path))
    return checkpoint["description"], {n.removeprefix("model."): v for n, v in state.items() if n.startswith("model.")}
