"""The registries of choices by key, for ``--help``, ``hist2st list`` and completion."""

from __future__ import annotations

import inspect
import re
from argparse import Action
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Choice:
    """A registry of choices.

    Args:
        place: Its location in the package, ``module:NAME``.
        options: The options that take its keys, by their last component or their full name.
        listed: Whether ``hist2st list`` shows it, with the docstring of each choice.
    """

    place: str
    options: tuple[str, ...]
    listed: bool = True

    def values(self) -> Mapping[str, Any]:
        """Import the dictionary."""
        module, name = self.place.split(":")
        found: Mapping[str, Any] = getattr(import_module(f"{PACKAGE}.{module}"), name)
        return found


CHOICES: dict[str, Choice] = {
    "models": Choice("models:MODELS", ("model.name",)),
    "layers": Choice("nn.gnn:CONVS", ("model.gnn", "gnn")),
    "encoders": Choice("nn.vision:ENCODERS", ("model.vision",)),
    "likelihoods": Choice("nn.likelihoods:LIKELIHOODS", ("model.likelihood",)),
    "datasets": Choice("datasets:DATASETS", ("data.name", "dataset")),
    "presets": Choice("training.presets:PRESETS", ("preset",)),
    "graphs": Choice("data.graph:GRAPHS", ("data.graph",)),
    "prunings": Choice("data.graph:PRUNINGS", ("data.prune",)),
    "stains": Choice("image.stain:STAINS", ("data.stain",)),
    "losses": Choice("losses:LOSSES", ("training.loss",)),
    "attentions": Choice("nn.attention:ATTENTIONS", ("model.attention",)),
    "positions": Choice("nn.transformer:POSITIONS", ("model.position",), listed=False),
    "norms": Choice("nn.jumping_knowledge:NORMS", ("model.gnn_norm",), listed=False),
    "jumping knowledge": Choice("nn.jumping_knowledge:JUMPING_KNOWLEDGE", ("model.jk",), listed=False),
    "edge weights": Choice("nn.graph_arguments:EDGE_WEIGHTS", ("model.gnn_edge_weight",), listed=False),
    "formats": Choice("inference.outputs:OUTPUTS", ("format",), listed=False),
    "executors": Choice("utils.executors:EXECUTORS", ("executor",), listed=False),
    "methods": Choice("analysis.regions:METHODS", ("method",), listed=False),
}
"""The registries by the kind of their values, in the plural."""

LISTED = tuple(name for name, choice in CHOICES.items() if choice.listed)


def choices_of(action: Action) -> list[str]:
    """Return the choices of an argument; empty if it accepts any value of its type."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    hint = getattr(action, "_typehint", None) or action.type
    null = ["null"] if NoneType in get_args(hint) else []
    for choice in CHOICES.values():
        if action.dest in choice.options:
            return [*choice.values(), *null]
    literal = [value for part in _parts(hint) if get_origin(part) is Literal for value in get_args(part)]
    return [*map(str, literal), *null] if literal else ["true", "false"] if hint is bool else []


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def sentence(kind: str, key: str) -> str:
    """Return the first sentence of a choice's docstring.

    Args:
        kind: A key of :data:`CHOICES`.
        key: A key of its dictionary.
    """
    value = CHOICES[kind].values()[key]
    if value is None:
        return "None: disables it."
    if kind == "datasets":  # the values are functions that import the module of the data set
        value = import_module(f"{PACKAGE}.datasets.{key}")
    if isinstance(value, Mapping):
        return str(value["about"])
    keywords = value.keywords.values() if isinstance(value, partial) else []
    given = next((keyword for keyword in keywords if isinstance(keyword, str)), None)
    documented: Callable[..., Any] = value.func if isinstance(value, partial) else value
    text = first_sentence(inspect.getdoc(documented) or "")
    return f"{text.removesuffix('.')}: {given}." if given else text


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring without markup, and without the signature that torch prepends."""
    blocks = [" ".join(block.split()) for block in text.split("\n\n")]
    prose = next((block for block in blocks if block and not re.match(r"\w+\(.*\) *->", block)), "")
    return re.split(r"(?<!\bal\.)(?<=\.)\s", plain(prose))[0]


def plain(text: str) -> str:
    """Remove the reStructuredText markup of a text."""
    text = re.sub(r"`([^`<]*?)\s*<[^`>]*>`_+", r"\1", text)
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([^`]*)`", r"\1", text)
    text = re.sub(r"\\mathrm{(\w+)}", r"\1", text)
    return re.sub(r"``|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)", "", text)
