"""Saving a model as safetensors and JSON, and loading it without executing anything from the file."""

from __future__ import annotations

import inspect
import json
import logging
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from hist2st_pyg.choices import choose
from hist2st_pyg.data.convert import Recipe
from hist2st_pyg.files import atomic_path, write_json, write_text
from hist2st_pyg.models.base import ExpressionModel, GeneTrust
from hist2st_pyg.models.card import CARD, edited, model_card
from hist2st_pyg.models.graph_only import GraphOnly
from hist2st_pyg.models.hist2st import Hist2ST
from hist2st_pyg.models.histogene import HisToGene
from hist2st_pyg.models.kernel_ridge import KernelRidge
from hist2st_pyg.models.ridge import EmbeddingRidge, Ridge, RidgeNeighbours
from hist2st_pyg.models.simple import DepthOracle, Mean, PositionKNN
from hist2st_pyg.models.stnet import STNet
from hist2st_pyg.models.training_sections import plain_sections, read_training_sections
from hist2st_pyg.tensors import read_tensors

logger = logging.getLogger(__name__)

Expected = TypeVar("Expected", bound=ExpressionModel)
FORMAT = 2
READ = (1, 2)
"""Formats that are read; in 1 a training section is ``"patient/section"``."""
WEIGHTS, CONFIG = "model.safetensors", "config.json"

MODELS: dict[str, Callable[..., ExpressionModel]] = {
    "depth_oracle": DepthOracle,
    "embedding_ridge": EmbeddingRidge,
    "graph_only": GraphOnly,
    "hist2st": Hist2ST,
    "histogene": HisToGene,
    "kernel_ridge": KernelRidge,
    "mean": Mean,
    "position_knn": PositionKNN,
    "ridge": Ridge,
    "ridge_neighbours": RidgeNeighbours,
    "stnet": STNet,
}
"""The models that can be chosen by key."""


def parameters_of(build: Callable[..., ExpressionModel]) -> dict[str, Any]:
    """The names of a model's arguments with their defaults, those that it passes on to the class above included."""
    defaults: dict[str, Any] = {}
    for cls in getattr(build, "__mro__", (build,)):
        parameters = inspect.signature(cls).parameters
        defaults = {**{name: parameter.default for name, parameter in parameters.items()}, **defaults}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return defaults


def describe(model: ExpressionModel) -> dict[str, Any]:
    """Everything but the weights: what ``config.json`` and a checkpoint hold.

    A layer or encoder given as a class or factory is noted by name; loading asks for it again.
    """
    key = next((key for key, build in MODELS.items() if build is type(model)), type(model).__name__)
    return {
        "format": FORMAT,
        "model": key,
        "arguments": {name: _argument(name, value) for name, value in model.config.items()},
        "recipe": model.recipe.to_dict() if model.recipe is not None else None,
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
    model: ExpressionModel,
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
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
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
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        with atomic_path(Path(temporary) / WEIGHTS) as path:  # safetensors' own files are private
            save_file(state, path, metadata={"format": "pt"})
        write_json(Path(temporary) / CONFIG, description)
        write_text(Path(temporary) / CARD, text)
        for name in names:
            (Path(temporary) / name).replace(folder / name)
    return folder


def load_model(path: str | Path, **custom: Any) -> ExpressionModel:
    """Load a saved folder, a run folder, or a Lightning checkpoint; nothing is unpickled, and nothing fetched.

    Args:
        path: A folder of :meth:`ExpressionModel.save_pretrained`, a run folder of ``hist2st train``, or its ``.ckpt``.
            A model on the hub is loaded by :meth:`ExpressionModel.from_pretrained`.
        custom: The class or factory of a model that was built with one, by argument: ``gnn=MyConv``.

    Returns:
        The model in eval mode, with its ``recipe``.

    Raises:
        FileNotFoundError: If there is no model at ``path``.
        ValueError: If the file is damaged, of another format, or its weights do not fit.
    """
    return load_local(ExpressionModel, path, str(path), custom)


def load_local(expected: type[Expected], path: str | Path, source: str, custom: Mapping[str, Any]) -> Expected:
    """Load a model of a class from this machine; see :func:`load_model`.

    Args:
        expected: The class; a model of another is refused.
        path: The folder or checkpoint.
        source: Its name in errors.
        custom: As in :func:`load_model`.
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
    model = rebuild(description, state, source, expected, **custom)
    if not isinstance(model, expected):
        raise ValueError(
            f"{source} holds a {type(model).__name__}, not a {expected.__name__}; load it by "
            f"{type(model).__name__}.from_pretrained, or any model by load_model."
        )
    return model


def is_hub_id(name: str | Path) -> bool:
    """Whether a name could be a model's on the hub, ``owner/name``."""
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", str(name)) is not None


def rebuild(
    description: dict[str, Any],
    state: dict[str, Tensor],
    source: str,
    expected: type[ExpressionModel] = ExpressionModel,
    **custom: Any,
) -> ExpressionModel:
    """Build a model from what :func:`describe` gave, and load its weights; ``expected`` may be a class of a user's."""
    if not isinstance(description, dict):
        raise ValueError(f"{source}: the saved model is damaged: its description is no mapping.")
    if description.get("format") not in READ:
        formats = " and ".join(map(str, READ))
        raise ValueError(f"{source}: model format {description.get('format')!r} is none of {formats}, those read here.")
    if missing := sorted({"model", "arguments", "recipe", "training_sections"} - set(description)):
        raise ValueError(f"{source}: the saved model is damaged: its description lacks {', '.join(missing)}.")
    arguments = dict(description["arguments"])
    for name, value in arguments.items():
        if isinstance(value, dict) and set(value) == {"custom"} and name not in custom:
            raise ValueError(
                f"{source}: the model was built with {name}={value['custom']}, which a file cannot hold; "
                f"pass it again: load_model(..., {name}=...)."
            )
    if unknown := sorted(set(custom) - set(arguments)):
        raise TypeError(f"{source}: the model has no argument {unknown[0]!r} to pass again.")
    key = description["model"]
    build = expected if key == expected.__name__ and key not in MODELS else choose(MODELS, key, "model")
    try:
        model = build(**{**arguments, **custom})
        recipe = None if description["recipe"] is None else Recipe(**description["recipe"])
    except TypeError as error:
        raise ValueError(f"{source}: the saved model is damaged, or of another version: {error}") from error
    if recipe is not None and len(recipe.genes) != arguments["n_genes"]:
        raise ValueError(f"{source}: the panel has {len(recipe.genes)} genes, the model {arguments['n_genes']}.")
    _check_finite(state, source)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{source}: the weights do not fit the model: {error}") from error
    model.recipe = recipe
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
