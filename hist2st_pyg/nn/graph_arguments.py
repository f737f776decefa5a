"""The arguments that a graph layer receives besides features and edges, by its ``forward``, and the edge weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric import nn as gnn

EXTRAS = ("edge_attr", "edge_weight", "batch")
"""Arguments that a layer may receive besides ``x`` and ``edge_index``."""
EDGE_OPTIONS = ("edge_dim", "in_edge_channels", "dim")
"""Names of the arguments of PyG's layers, and of their attributes, for the width of edge features."""

EdgeWeight = Callable[[Tensor], Tensor]
"""``(distance [E]) -> weight [E]``."""


def inverse_distance(distance: Tensor) -> Tensor:
    """1 / (1 + d)."""
    return 1 / (1 + distance)


def gaussian(distance: Tensor) -> Tensor:
    """exp(-d² / 2)."""
    return torch.exp(-distance.square() / 2)


EDGE_WEIGHTS: dict[str, EdgeWeight | None] = {"inverse": inverse_distance, "gaussian": gaussian, "none": None}
"""Maps the distance d [E] in spot pitches to ``edge_weight``; with ``"none"`` layers receive no weights."""


def takes(layer: nn.Module, name: str) -> bool:
    """Whether a layer receives ``name``, one of :data:`EXTRAS`.

    It receives every required argument of ``forward``, and optional ones unless it is a PyG layer built without them.
    A layer that passes ``**kwargs`` on receives what its inner layers take, or everything if it has none.
    """
    layer = uncompiled(layer)
    parameters = {parameter.name: parameter for parameter in forward_parameters(layer)}
    if name in parameters:
        if required(parameters[name]) or name == "batch" or not is_pyg(layer.forward):
            return True
        built = built_with_edges(layer) if name == "edge_attr" else None
        if built is not None:
            return built
    elif all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
        return False
    inner = list(_inner_layers(layer))
    return not inner or any(takes(module, name) for module in inner)


def edge_arguments(layer: nn.Module) -> frozenset[str]:
    """Those of ``edge_attr`` and ``edge_weight`` that a layer receives, see :func:`takes`."""
    return frozenset(name for name in ("edge_attr", "edge_weight") if takes(layer, name))


def built_with_edges(layer: nn.Module) -> bool | None:
    """Whether a PyG layer was built with edge features; None if it has no such option."""
    if isinstance(layer, gnn.GENConv):  # the only layer that does not store its option
        return hasattr(layer, "lin_edge")
    options = [getattr(layer, option) for option in EDGE_OPTIONS if hasattr(layer, option)]
    return any(options) if options else None


def forward_parameters(layer: nn.Module | type[nn.Module]) -> list[inspect.Parameter]:
    """The parameters of ``forward``, without ``self``, which a decorated one may take by ``*args``."""
    parameters = list(inspect.signature(layer.forward).parameters.values())
    named = bool(parameters) and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL
    return parameters[isinstance(layer, type) and named :]


def required(parameter: inspect.Parameter) -> bool:
    """Whether a parameter has no default."""
    named = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return named and parameter.default is parameter.empty


def is_pyg(function: Callable[..., Any]) -> bool:
    """Whether a method is PyG's own, not one of a user's subclass."""
    return function.__module__.startswith("torch_geometric.nn.")


def uncompiled(layer: nn.Module) -> nn.Module:
    """The layer inside a wrapper of ``torch.compile``."""
    inner: nn.Module = getattr(layer, "_orig_mod", layer)
    return inner


def _inner_layers(layer: nn.Module) -> Iterator[nn.Module]:
    """The outermost graph layers inside a layer."""
    for child in layer.children():
        if [parameter.name for parameter in forward_parameters(child)[1:2]] == ["edge_index"]:
            yield child
        else:
            yield from _inner_layers(child)
