"""Test a graph layer once, when it is built, and reject an unusable one with an error that names it."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch_geometric.data import Data

from hist2st_pyg.nn.graph_arguments import (
    EDGE_OPTIONS,
    EXTRAS,
    built_with_edges,
    forward_parameters,
    is_pyg,
    required,
    takes,
    uncompiled,
)


def features(out: Any) -> Any:
    """The features that a layer returns; of a pair (features, attention) the first."""
    return out[0] if isinstance(out, tuple) and len(out) == 2 else out


def small_graph(channels: int) -> Data:
    """The graph on which layers are tested: sections of four and six spots, one spot without neighbors.

    Args:
        channels: Width of ``x``.
    """
    with torch.device("cpu"):
        x = torch.randn(10, channels, generator=torch.Generator().manual_seed(0))
        source, target = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 0, 5, 6, 7, 8, 4]])
        edge_index = torch.stack([torch.cat([source, target]), torch.cat([target, source])])
        distance = torch.linspace(1, 2, edge_index.shape[1])
        batch = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    return Data(x=x, edge_index=edge_index, edge_attr=distance[:, None], batch=batch)


def check_class(conv: type[nn.Module], kwargs: Mapping[str, Any]) -> None:
    """Reject a class that ``(in_channels, out_channels)`` does not build.

    PyG's convolutions have these arguments; ``APPNP(K, alpha)``, for example, would mistake the widths for its own.

    Args:
        conv: The class.
        kwargs: Its further arguments.

    Raises:
        TypeError: If it does not; the message names the class and shows a factory.
    """
    _check_forward(conv, EXTRAS)
    signature = inspect.signature(conv)
    names = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][:2]
    problem = ""
    if is_pyg(conv.__init__) and names != ["in_channels", "out_channels"]:
        problem = f"its first arguments are {', '.join(names) or 'none'}"
    else:
        try:
            signature.bind(0, 0, **kwargs)
        except TypeError as error:
            problem = str(error)
    if problem:
        form = ", ".join(["in_channels", "out_channels", *kwargs])
        raise TypeError(f"{conv.__name__} cannot be built with ({form}): {problem}. Pass a factory: {_factory(conv)}.")


def check_layer(layer: nn.Module, graph: Data) -> bool:
    """Run a layer on a graph and on its smaller section; weights, buffers, mode and random state do not change.

    Lazy weights (PyG's ``in_channels=-1``) are initialized.

    Args:
        layer: The layer.
        graph: :func:`small_graph`, with the edge arguments of the stage.

    Returns:
        Whether the layer separates the sections of a batch.

    Raises:
        TypeError: If it is not a module, or its ``forward`` needs arguments that the stage does not have.
        ValueError: If it fails, or its output is not [N, C] or not finite; the message describes the output.
    """
    if not isinstance(layer, nn.Module):
        raise TypeError(f"A graph layer must be a torch.nn.Module; the factory returned {layer!r}.")
    layer = uncompiled(layer)
    given = [name for name in EXTRAS if name in graph]
    _check_forward(layer, given)
    _check_options(layer)
    names = [name for name in given if takes(layer, name)]
    values = [value for value in (*layer.parameters(), *layer.buffers()) if value.is_floating_point()]
    dtype = values[0].dtype if values else torch.get_default_dtype()
    device = values[0].device if values else torch.get_default_device()
    if device.type == "meta":
        return True  # meta tensors have no values to check
    graph = graph.clone().apply(lambda value: value.to(device, dtype if value.is_floating_point() else value.dtype))
    x = graph.x.clone()
    try:
        out = _run(layer, graph, names)
        alone = _run(layer, graph.subgraph(graph.batch == 0), names)  # the smaller one, which a dense batch pads
    except Exception as error:
        ours = {*names, "size", "return_attention_weights"}
        unused = [p.name for p in forward_parameters(layer)[2:] if p.name not in ours and p.kind is not p.VAR_KEYWORD]
        without = f" and not {', '.join(unused)}" if unused else ""
        reason = str(error).rstrip(".") or traceback.extract_tb(error.__traceback__)[-1].line
        raise ValueError(
            f"{type(layer).__name__} fails on a small graph, called with {', '.join(['x', 'edge_index', *names])}"
            f"{without}: {type(error).__name__}: {reason}. Change its arguments, for example {_factory(type(layer))}, "
            "or pass your own layer."
        ) from error
    if not torch.equal(graph.x, x):
        raise ValueError(
            f"{type(layer).__name__} changes its input x in place, which residual connections and jumping knowledge "
            "read after it; change a copy."
        )
    _check_output(layer, out, graph.x)
    return torch.allclose(features(out)[graph.batch == 0], features(alone), rtol=1e-4, atol=1e-5)


def check_separate(layers: Sequence[nn.Module]) -> None:
    """Reject layers of different depths that share weights.

    Args:
        layers: The layers, in their order.

    Raises:
        ValueError: If two share a weight; the message names it.
    """
    owner: dict[int, int] = {}
    for depth, layer in enumerate(layers):
        for name, parameter in layer.named_parameters():
            if (other := owner.setdefault(id(parameter), depth)) != depth:
                raise ValueError(
                    f"The {type(layer).__name__} layers {other} and {depth} share the weight {name}, but each depth "
                    "needs its own weights; build the layer and all its parts inside the factory."
                )


def _run(layer: nn.Module, graph: Data, names: list[str]) -> Any:
    modes = {module: module.training for module in layer.modules()}
    # Lazy weights are drawn from the global generator, as all others are.
    complete = not any(is_lazy(parameter) for parameter in layer.parameters())
    devices = [graph.x.device] if graph.x.is_cuda else []
    layer.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices, enabled=complete):
            return layer(graph.x, graph.edge_index, **{name: graph[name] for name in names})
    finally:
        for module, training in modes.items():
            module.training = training


def _check_output(layer: nn.Module, out: Any, x: Tensor) -> None:
    name, hint, h = type(layer).__name__, _factory(type(layer)), features(out)
    two = isinstance(out, tuple) and all(isinstance(part, Tensor) and part.shape == x.shape for part in out)
    if not isinstance(h, Tensor) or two:
        what = f"a {type(out).__name__}" + (f" of {len(out)}" if isinstance(out, (tuple, list)) else "")
        raise ValueError(
            f"{name} returned {what}; a graph layer must return features [N, C] or a pair (features, attention). Pass "
            "your own layer that selects the features."
        )
    n, channels = x.shape
    if h.dim() == 2 and len(h) == n and h.shape[1] != channels:
        times, rest = divmod(h.shape[1], channels)
        if not rest and times:
            heads = f"heads={times}" if getattr(layer, "heads", None) == times else "..."
            hint = f"gnn=lambda i, o: {name}(i, o // {times}, {heads})"
        raise ValueError(
            f"{name} returned {h.shape[1]} channels, but the graph stage has {channels}; pass a factory whose layer "
            f"returns out_channels: {hint}."
        )
    if h.shape != x.shape:
        raise ValueError(f"{name} returned {list(h.shape)} for features {[n, channels]}; the shapes must match.")
    bad = ~torch.isfinite(h).all(1)
    if bad.any():
        where = "a spot without neighbors" if bad.nonzero().tolist() == [[9]] else f"{int(bad.sum())} of {n} spots"
        raise ValueError(
            f"{name} returned values that are not finite for {where} of a small graph; change its arguments: {hint}."
        )


def _check_forward(layer: nn.Module | type[nn.Module], given: Collection[str]) -> None:
    """Reject a layer whose ``forward`` is not ``(x, edge_index, ...)`` or requires other arguments."""
    parameters = forward_parameters(layer)
    names, kinds = [parameter.name for parameter in parameters], [parameter.kind for parameter in parameters]
    by_position = inspect.Parameter.VAR_POSITIONAL
    if by_position in kinds[:2] and inspect.Parameter.VAR_KEYWORD in kinds:
        return
    second = names[1] if len(names) > 1 else ""
    known = (*names[:1], "edge_index" if "edge_index" in names else second, *given)
    needs = [p.name for p in parameters[1:] if required(p) and p.name not in known]
    problem = ""
    if "edge_index" not in names and (
        second in ("", *EXTRAS) or (is_pyg(layer.forward) and not second.endswith("edge_index"))
    ):
        problem = "takes no edge_index"
    elif needs:
        problem = f"needs {', '.join(needs)}"
    elif "edge_index" in names[2:]:
        problem = "does not take edge_index second"
    elif by_position in kinds and inspect.Parameter.VAR_KEYWORD not in kinds:
        problem = "takes further arguments by position, so that it would receive none"
    elif not is_pyg(layer.forward) and (
        unknown := [name for name in names[2:] if name.startswith("edge") and name not in EXTRAS]
    ):
        problem = f"takes {', '.join(unknown)}, which it would never receive"
    if problem:
        name = layer.__name__ if isinstance(layer, type) else type(layer).__name__
        raise TypeError(
            f"{name}.forward({', '.join(names)}) {problem}; the graph stage passes x, edge_index, {', '.join(given)}. "
            "Name the arguments so, or wrap it in your own layer whose forward takes these."
        )


def _check_options(layer: nn.Module) -> None:
    """Reject options of PyG's layers that the stage does not support."""
    for module in layer.modules():
        name = type(module).__name__
        if not is_pyg(module.forward):
            continue
        if getattr(module, "cached", False):
            raise ValueError(f"{name}(cached=True) reuses the first graph for all later ones; set cached=False.")
        if module is not layer and is_pyg(layer.forward) and built_with_edges(module) and not takes(layer, "edge_attr"):
            raise ValueError(
                f"{name} is built with edge features, which {type(layer).__name__} does not pass to it; build it "
                "without them."
            )


def _factory(conv: type[nn.Module]) -> str:
    """A factory to suggest, with the names of the class's arguments."""
    parameters = list(inspect.signature(conv).parameters.values())
    widths = {"in_channels": "i", "channels": "i", "out_channels": "o"}
    if not is_pyg(conv.__init__):
        widths = dict(zip((p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD), "io", strict=False))
    takes_edges = any(parameter.name == "edge_attr" for parameter in forward_parameters(conv))
    arguments = []
    for parameter in parameters:
        name = parameter.name
        if name in widths:
            arguments.append(widths[name])
        elif takes_edges and name in EDGE_OPTIONS:
            arguments.append(f"{name}=1")
        elif required(parameter):
            arguments.append(f"{name}=...")
    return f"gnn=lambda i, o: {conv.__name__}({', '.join(arguments)})"
