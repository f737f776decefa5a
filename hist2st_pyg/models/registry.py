"""The models that can be chosen by key: every class in this folder that has one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.pretrained import load_local

for _module in iter_modules([str(Path(__file__).parent)]):
    import_module(f"{__package__}.{_module.name}")

MODELS: dict[str, type[ExpressionModel]] = {
    key: cls for key, cls in sorted(ExpressionModel.keyed.items()) if cls.__module__.startswith(f"{__package__}.")
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


def load_model(path: str | Path, **custom: Any) -> ExpressionModel:
    """Load a saved folder, a run folder, or a Lightning checkpoint; nothing is unpickled, and nothing fetched.

    Args:
        path: A folder of :meth:`ExpressionModel.save_pretrained`, a run folder of ``hist2st train``, or its ``.ckpt``.
            A model on the hub is loaded by :meth:`ExpressionModel.from_pretrained`.
        custom: The class or factory of a model that was built with one, by argument: ``gnn=MyConv``.

    Returns:
        The model in eval mode, with its ``preprocessing``.

    Raises:
        FileNotFoundError: If there is no model at ``path``.
        ValueError: If the file is damaged, of another format, or its weights do not fit.
    """
    return load_local(ExpressionModel, ExpressionModel.keyed, path, str(path), custom)
