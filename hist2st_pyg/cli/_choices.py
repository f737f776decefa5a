"""What can be chosen by key, read from the dictionaries that resolve the keys: for ``--help``, ``list``, completion."""

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
    """A dictionary of choices.

    Args:
        place: Where it is, ``module:NAME`` of the package.
        options: The options that take its keys, by the name behind their last dot, or in full.
        listed: Whether ``hist2st list`` shows it; those that it shows have a docstring each.
    """

    place: str
    options: tuple[str, ...]
    listed: bool = True

    def values(self) -> Mapping[str, Any]:
        """The dictionary."""
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
    "readouts": Choice("nn.jumping_knowledge:JUMPING_KNOWLEDGE", ("model.jk",), listed=False),
    "edge weights": Choice("nn.graph_arguments:EDGE_WEIGHTS", ("model.gnn_edge_weight",), listed=False),
    "formats": Choice("inference.outputs:OUTPUTS", ("format",), listed=False),
    "executors": Choice("utils.executors:EXECUTORS", ("executor",), listed=False),
    "methods": Choice("analysis.regions:METHODS", ("method",), listed=False),
}
"""The dictionaries by what their values are, in the plural."""

LISTED = tuple(name for name, choice in CHOICES.items() if choice.listed)


def choices_of(action: Action) -> list[str]:
    """The values that an argument can be chosen from; none where any value of its type will do."""
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
    """The first sentence about a choice, from its docstring.

    Args:
        kind: A key of :data:`CHOICES`.
        key: A key of its dictionary.
    """
    value = CHOICES[kind].values()[key]
    if value is None:
        return "Nothing: this is left out."
    if kind == "datasets":  # its values are loaders that import the module of the data set
        value = import_module(f"{PACKAGE}.datasets.{key}")
    if isinstance(value, Mapping):
        return str(value["about"])
    keywords = value.keywords.values() if isinstance(value, partial) else []
    given = next((keyword for keyword in keywords if isinstance(keyword, str)), None)
    documented: Callable[..., Any] = value.func if isinstance(value, partial) else value
    text = first_sentence(inspect.getdoc(documented) or "")
    return f"{text.removesuffix('.')}: {given}." if given else text


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, without its markup; torch begins its with the function's signature."""
    blocks = [" ".join(block.split()) for block in text.split("\n\n")]
    prose = next((block for block in blocks if block and not re.match(r"\w+\(.*\) *->", block)), "")
    return re.split(r"(?<!\bal\.)(?<=\.)\s", plain(prose))[0]


def plain(text: str) -> str:
    """Text without reStructuredText's marks."""
    text = re.sub(r"`([^`<]*?)\s*<[^`>]*>`_+", r"\1", text)
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([^`]*)`", r"\1", text)
    text = re.sub(r"\\mathrm{(\w+)}", r"\1", text)
    return re.sub(r"``|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)", "", text)
