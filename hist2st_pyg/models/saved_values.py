"""Validate the contents of a saved model's files before building the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hist2st_pyg.data.graph import GRAPHS
from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models.saved import GeneTrust
from hist2st_pyg.nn.vision import ENCODERS, saved_encoder_arguments
from hist2st_pyg.utils.json_files import check_kinds, kinds_of

UNUSABLE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""The errors that a constructor raises on invalid values."""

TRIANGLE = np.array([[0, 0], [1, 1], [0, 2]])
"""Positions of the three spots of a small test section."""

SET_BY_THE_MODEL = ("in_channels", "patch_size")
"""Arguments of an encoder that the model sets, not the user."""

TRUST = {"detected", "val_ceiling", "val_pcc"}
"""The columns of gene_trust."""

POSITIVE_BUFFERS = ("pixel_std", "target_std")
"""Buffers that must be positive, because they scale inputs or outputs."""


def signature_of(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return a model's arguments by name, including those that it passes to its base class."""
    found: dict[str, inspect.Parameter] = {}
    for cls in getattr(build, "__mro__", (build,)):
        parameters = inspect.signature(cls, eval_str=cls.__module__.startswith("hist2st_pyg.")).parameters
        found = {**parameters, **found}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found


def model_arguments(
    build: Callable[..., Any],
    saved: Mapping[str, Any],
    state: Mapping[str, Any],
    custom: Mapping[str, Any],
    source: str,
) -> dict[str, Any]:
    """Validate the arguments that rebuild a saved model, without pretrained weights.

    Args:
        build: The model's class.
        saved: The arguments in its description.
        state: Its weights.
        custom: Classes and factories that the caller passes again, by argument.
        source: The model, for errors.

    Raises:
        TypeError: If the model has no argument of a name in ``custom``.
        ValueError: If an argument is unknown, of another type or unlike the weights, or was a class or factory.
    """
    where, known = f"{source}: arguments", signature_of(build)
    for name, value in saved.items():
        if isinstance(value, dict) and set(value) == {"custom"} and name not in custom:
            raise ValueError(
                f"{source}: the model was built with {name}={value['custom']}, which a file cannot store; "
                f"pass it again: load_model(..., {name}=...)."
            )
    if unknown := sorted(set(custom) - set(saved)):
        raise TypeError(f"{source}: the model has no argument {unknown[0]!r} to pass again.")
    named = {name: each.annotation for name, each in known.items() if each.kind is not each.VAR_KEYWORD}
    kinds = {name: Any if isinstance(kind, str) else kind for name, kind in named.items()}
    arguments = {name: value for name, value in saved.items() if name not in custom}
    check_kinds(arguments, kinds, where)
    if missing := [
        name for name, each in known.items() if each.default is each.empty and name in set(named) - set(saved)
    ]:
        raise ValueError(f"{where} lacks {', '.join(missing)}.")
    for name, buffer, times in (("n_genes", "target_mean", 1), ("n_scales", "pixel_mean", 3)):
        if name not in known:
            continue
        given, value = arguments.get(name, known[name].default), state.get(buffer)
        if value is None or value.dim() != 1 or value.shape[0] != times * given:
            got = "missing" if value is None else f"{list(value.shape)}"
            raise ValueError(f"{where}: {name} is {given!r:.20}, but the weight {buffer} is {got}.")
    vision = arguments.get("vision", known["vision"].default if "vision" in known else None)
    if "vision_kwargs" in known and isinstance(vision, str) and vision in ENCODERS and "vision" not in custom:
        options = arguments.get("vision_kwargs") or {}
        kinds = {name: kind for name, kind in kinds_of(ENCODERS[vision]).items() if name not in SET_BY_THE_MODEL}
        check_kinds(options, kinds, f"{source}: vision_kwargs of {vision!r}")
        try:
            arguments["vision_kwargs"] = saved_encoder_arguments(vision, options)
        except ValueError as error:
            raise ValueError(f"{source}: vision_kwargs of {vision!r}: {error}") from error
    return {**arguments, **custom}


def saved_preprocessing(saved: Any, arguments: Mapping[str, Any], source: str) -> Preprocessing | None:
    """Validate the preprocessing of a saved model against the model's arguments.

    Args:
        saved: The value in the model's description.
        arguments: The model's arguments.
        source: The model, for errors.

    Raises:
        ValueError: If a field is unknown or missing, or its value is of another type or does not fit.
    """
    if saved is None:
        return None
    where = f"{source}: preprocessing"
    check_kinds(saved, kinds_of(Preprocessing), where)
    if "genes" not in saved:
        raise ValueError(f"{where} lacks genes.")
    if saved.get("graph", "knn") in GRAPHS:
        check_kinds(saved.get("graph_kwargs", {}), kinds_of(GRAPHS[saved.get("graph", "knn")]), f"{where}.graph_kwargs")
    try:
        preprocessing = Preprocessing(**saved)
        preprocessing.build_graph(TRIANGLE.astype(np.float64), TRIANGLE)  # building a graph validates graph_kwargs
    except UNUSABLE_ERRORS as error:
        raise ValueError(f"{where}: {error}") from error
    genes = len(preprocessing.genes)
    n_genes = arguments.get("n_genes", genes)
    if genes != n_genes:
        raise ValueError(f"{source}: the panel has {genes} genes, the model {n_genes}.")
    if preprocessing.embedding is None:
        for name, value in (("n_scales", len(preprocessing.scales)), ("patch_size", preprocessing.patch_size)):
            if arguments.get(name, value) != value:
                what = "scales" if name == "n_scales" else name
                raise ValueError(f"{where}: {what} gives {name}={value}, the model has {name}={arguments[name]}.")
    return preprocessing


def check_weights(state: Mapping[str, Any], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise if weights have another dtype than the model's, or invalid values.

    Args:
        state: The weights.
        expected: The weights of the newly built model.
        source: The model, for errors.

    Raises:
        ValueError: If a weight is invalid; the message names it. Torch reports missing and unexpected weights and other
            shapes.
    """
    for name, value in state.items():
        if name not in expected:
            continue
        own = expected[name].dtype
        # Half precision is exact in single precision.
        if value.dtype != own and not (own == torch.float32 and value.dtype in (torch.float16, torch.bfloat16)):
            raise ValueError(
                f"{source}: the weight {name} is {_type(value.dtype)}, the model needs {_type(own)}; save the model in "
                "single precision."
            )
    check_finite(state, source)
    for name in POSITIVE_BUFFERS:
        if name in state and bool((state[name] <= 0).any()):
            raise ValueError(f"{source}: all values of the weight {name} must be above 0.")


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Raise a ValueError if a weight is nan or infinite."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{source}: the weight {name} has values that are not finite.")


def check_tensors(state: Any, source: str) -> dict[str, Tensor]:
    """Return a checkpoint's weights by name; raise a ValueError if a value is not a tensor."""
    if not isinstance(state, Mapping):
        raise ValueError(f"{source}: state_dict must hold weights by name, got {type(state).__name__}.")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{source}: state_dict[{name!r:.100}] must be a tensor, got {value!r:.100}.")
    return dict(state)


def read_gene_trust(saved: Any, n_genes: int, source: str) -> GeneTrust:
    """Validate the gene_trust of a saved model: columns with one value per gene.

    Raises:
        ValueError: If a column or a value is invalid.
    """
    if not isinstance(saved, dict) or any(not isinstance(v, list) or len(v) != n_genes for v in saved.values()):
        raise ValueError(
            f"{source}: the saved model is damaged: its gene_trust must have one value per gene in each column."
        )
    if saved and set(saved) != TRUST:
        raise ValueError(f"{source}: gene_trust must hold {', '.join(sorted(TRUST))}, got {sorted(saved)!r:.100}.")
    for column, values in saved.items():
        if wrong := [v for v in values if not isinstance(v, bool | int | float | None)]:
            raise ValueError(
                f"{source}: gene_trust.{column} must hold numbers, true, false or null, got {wrong[0]!r:.99}."
            )
    return saved


def largest_number(arguments: Mapping[str, Any]) -> str:
    """Format the largest number among the arguments, nested ones included, for an error: ``"n_pos=64"``."""
    flat = [(name, value) for name, value in arguments.items()]
    for name, value in flat:
        if isinstance(value, dict):
            flat.extend((f"{name}.{key}", item) for key, item in value.items())
        elif isinstance(value, list):
            flat.extend((name, item) for item in value)
    numbers = [(value, name) for name, value in flat if isinstance(value, int | float)]
    value, name = max(numbers, default=(0, "none"))
    return f"{name}={value!r:.20}"


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
