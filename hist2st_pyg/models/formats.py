"""Convert models saved by earlier versions: rename their arguments and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

FORMAT = 3
READ = (1, 2, 3)
"""Formats that can be read: 1 writes a training section as ``"patient/section"``; 1 and 2 have other names."""

PUBLISHED = ("graph_only", "hist2st")
"""Models that used the published likelihood before ``published_likelihood`` existed."""
ARGUMENTS = {"readout": "jk", "statistics": "color_stream", "views": "n_views"}
OPTIONS = {"total": "normalize_by", "graph_on": "coord_type", "swap_axes": "transpose_patches"}
VALUES = {"statistics": "color_texture", "standardise": "standardize", "ridge_neighbours": "ridge_neighbors"}


def upgrade_description(description: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the fields of a description of any readable format to the current names."""
    if description["model"] in PUBLISHED and "published_likelihood" not in description["arguments"]:
        arguments = {**description["arguments"], "published_likelihood": True}
        description = {**description, "arguments": arguments}
    if description["format"] > 2:
        return dict(description)
    upgraded = {name: value for name, value in description.items() if name != "recipe"}
    upgraded["model"] = VALUES.get(description["model"], description["model"])
    arguments = {ARGUMENTS.get(name, name): value for name, value in description["arguments"].items()}
    if isinstance(arguments.get("vision"), str):
        arguments["vision"] = VALUES.get(arguments["vision"], arguments["vision"])
    upgraded["arguments"] = arguments
    options = description["recipe"]
    if options is not None:
        options = {OPTIONS.get(name, name): value for name, value in options.items()}
        options["stain"] = VALUES.get(str(options.get("stain")), options.get("stain", "none"))
    upgraded["preprocessing"] = options
    return upgraded


def upgrade_weights(state: Mapping[str, Tensor], version: int) -> dict[str, Tensor]:
    """Rename the weights of the modules that all models share to the current names."""
    if version > 2:
        return dict(state)
    return {name.replace(".standardise.", ".standardize.").replace(".readout.", ".jk."): v for name, v in state.items()}
