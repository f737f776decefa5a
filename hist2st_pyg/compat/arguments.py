"""The arguments of the original programs, derived from the shapes of their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hist2st_pyg.compat import original as compat
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.utils.json_files import check_kinds, kinds_of

DIM_HEAD = 64
"""Width of an attention head in both programs."""
DATA = {"neighbors": 4, "prune": "Grid"}
"""The arguments of the programs' data, as published for HER2+."""
CSCC_GENES = 171
"""The genes of the checkpoints for cSCC, which the published notebooks run without pruning."""

DATA_KINDS: dict[str, Any] = {"neighbors": int, "prune": str}
HISTOGENE_KINDS: dict[str, Any] = {
    **dict.fromkeys(("patch_size", "n_layers", "n_genes", "dim", "n_pos", "heads", "dim_head", "mlp_dim"), int),
    **dict.fromkeys(("learning_rate", "dropout"), float),
}
"""HisToGene's arguments, including those fixed in its program, and their types."""


@dataclass(frozen=True)
class Original:
    """A published program.

    Args:
        mark: Regular expression of the beginning of weight names that only this program has.
        derive: Derives arguments from the weights and the given arguments.
        published: The published values of the other arguments.
        known: The type of each argument, by name.
        load: Builds this package's model from weights, arguments and genes.
    """

    mark: str
    derive: Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]]
    published: Mapping[str, Any]
    known: Mapping[str, Any]
    load: Callable[[Mapping[str, Any], Mapping[str, Any], Sequence[str] | None], ExpressionModel]


def original_arguments(original: Original, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a program: derived from its weights, given, or otherwise as published.

    Args:
        original: The program.
        state: Its weights.
        given: Arguments that differ from the publication or that the weights do not determine.

    Raises:
        ValueError: If an argument is unknown, of another type or does not fit the weights, or a weight is missing or
            has another shape.
    """
    if unknown := sorted(set(given) - set(original.known)):
        raise ValueError(f"Unknown argument {unknown[0]!r}. Choose from: {', '.join(sorted(original.known))}.")
    check_kinds(given, original.known, "The configuration")
    derived = original.derive(state, given)
    for name, value in derived.items():
        if name in given and given[name] != value:
            raise ValueError(f"{name}={given[name]!r} does not fit the weights, which need {value!r}.")
    return {**_published(original, derived), **given, **derived}


def _published(original: Original, derived: Mapping[str, Any]) -> dict[str, Any]:
    """Return the published values of the other arguments, for the data set with this number of genes."""
    return {**original.published, **({"prune": "NA"} if derived["n_genes"] == CSCC_GENES else {})}


def _hist2st(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    channel, _, _, stride = _shape(state, "patch_embedding.weight", 4)
    derived = {"channel": channel, "patch_size": stride, **_common(state)}
    dim = _shape(state, "x_embed.weight", 2)[1]
    down = _shape(state, "vit.transformer.down.0.weight", 4)[0]
    side = math.isqrt(dim // down)
    if side**2 * down != dim:
        raise ValueError(f"The weight x_embed.weight has {dim} channels, which are not {down} times a square number.")
    derived["fig_size"] = side * stride
    for depth, layer in (("depth1", "layer1"), ("depth2", "layer2"), ("depth3", "layer3")):
        derived[depth] = _count(state, rf"vit\.transformer\.{layer}\.(\d+)\.")
    if derived["depth1"]:
        derived["kernel_size"] = _shape(state, "vit.transformer.layer1.0.dw.0.weight", 4)[-1]
    if derived["depth2"]:
        derived["heads"] = _heads(state, "vit.transformer.layer2.0.attn.fn.to_qkv.weight", DIM_HEAD)
    likelihood = {"hr.weight", "mean.0.weight"} & set(state)
    if likelihood:
        derived["nb"] = "hr.weight" in likelihood
    # The weight of the likelihood does not change predictions; only its presence matters.
    weight = given.get("zinb", 0.25)
    derived["zinb"] = weight if (weight > 0) == bool(likelihood) else 0.25 * bool(likelihood)
    return derived


def _histogene(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    dim, pixels = _shape(state, "patch_embedding.weight", 2)
    side = math.isqrt(pixels // 3)
    if 3 * side**2 != pixels:
        raise ValueError(f"The weight patch_embedding.weight is {[dim, pixels]}: {pixels} is not 3 times a square.")
    layers = _count(state, r"vit\.transformer\.layers\.(\d+)\.")
    qkv = "vit.transformer.layers.0.0.fn.to_qkv.weight"
    dim_head = int(given.get("dim_head", DIM_HEAD))
    if "heads" in given and "dim_head" not in given:
        dim_head = _heads(state, qkv, int(given["heads"]))
    return {
        "patch_size": side,
        "dim": dim,
        "n_layers": layers,
        "mlp_dim": _shape(state, "vit.transformer.layers.0.1.fn.net.0.weight", 2)[0],
        "heads": _heads(state, qkv, dim_head),
        "dim_head": dim_head,
        **_common(state),
    }


def _common(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"n_pos": _shape(state, "x_embed.weight", 2)[0], "n_genes": _shape(state, "gene_head.1.weight", 2)[0]}


def _heads(state: Mapping[str, Tensor], qkv: str, width: int) -> int:
    """Divide the total width, which the weights have, by the width of a head or by the number of heads."""
    channels = _shape(state, qkv, 2)[0] // 3
    if width < 1 or channels % width:
        raise ValueError(f"The weight {qkv} has 3 times {channels} channels, which are not a multiple of {width}.")
    return channels // width


def _shape(state: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(f"The weight {name} is missing.")
    shape = tuple(state[name].shape)
    if len(shape) != dimensions:
        raise ValueError(f"The weight {name} must have {dimensions} dimensions, got shape {list(shape)}.")
    return shape


def _count(state: Mapping[str, Tensor], layer: str) -> int:
    """Count the layers, which are numbered from 0."""
    return 1 + max((int(match[1]) for name in state if (match := re.match(layer, name))), default=-1)


ORIGINALS: dict[str, Original] = {
    "hist2st": Original(
        mark=r"vit\.transformer\.down\.",
        derive=_hist2st,
        published={"policy": "mean", "dropout": 0.2, **DATA},
        known={**kinds_of(compat.Hist2ST), "nb": bool | int, **DATA_KINDS},
        load=compat.load_hist2st,
    ),
    "histogene": Original(
        mark=r"vit\.transformer\.layers\.",
        derive=_histogene,
        published={"dropout": 0.1, **DATA},
        known={**HISTOGENE_KINDS, **DATA_KINDS},
        load=compat.load_histogene,
    ),
}
"""The supported programs."""
