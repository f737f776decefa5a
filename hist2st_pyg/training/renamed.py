"""Raise an error with the current name for each configuration key of an earlier version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "data.total": "data.normalize_by",
    "data.graph_on": "data.coord_type",
    "data.swap_axes": "data.transpose_patches",
    "training.clip": "training.gradient_clip_val",
    "training.lamb": "training.distillation_weight",
    "training.normalise": "training.normalize",
    "training.schedule": "training.lr_scheduler",
    "training.standardise": "training.standardize",
    "training.view": "training.view_augmentation",
    "training.views": "training.n_views",
    "model.readout": "model.jk",
    "model.statistics": "model.color_stream",
}
"""The current name of each renamed key."""


def refuse_renamed(values: Mapping[str, Any], where: str = "") -> None:
    """Raise if a key was renamed.

    Args:
        values: A configuration: nested mappings, or keys with dots in them, as on a command line.
        where: The file, for the error.

    Raises:
        ValueError: The message names both keys.
    """
    names = [name for name in map(str, values) if "." in name]
    for part in ("data", "model", "training"):
        if isinstance(values.get(part), list):
            raise ValueError(f"{where + ': ' if where else ''}{part} must map keys to values, got a list.")
        if isinstance(values.get(part), Mapping):
            names += [f"{part}.{name}" for name in values[part]]
    for name in names:
        old = next((old for old in RENAMED if name == old or name.startswith(f"{old}.")), None)
        if old is not None:
            raise ValueError(f"{where + ': ' if where else ''}the key {old} was renamed to {RENAMED[old]}.")
