"""The registry of models: every class of this folder with a key."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.pretrained import load_local
from hist2st_pyg.models.saved_values import signature_of

for _module in iter_modules([str(Path(__file__).parent)]):
    import_module(f"{__package__}.{_module.name}")

MODELS: dict[str, type[ExpressionModel]] = {
    key: cls for key, cls in sorted(ExpressionModel.keyed.items()) if cls.__module__.startswith(f"{__package__}.")
}
"""Model classes, by key."""


def parameters_of(build: Callable[..., ExpressionModel]) -> dict[str, Any]:
    """Return names and defaults of a model's arguments, including those that it passes to its base class."""
    return {name: parameter.default for name, parameter in signature_of(build).items()}


def load_model(path: str | Path, **custom: Any) -> ExpressionModel:
    """Load a saved folder, a run folder, or a Lightning checkpoint, without unpickling and without a download.

    Args:
        path: A folder of :meth:`ExpressionModel.save_pretrained`, a run folder of ``hist2st train``, its ``.ckpt``, or
            the name of a packaged model (``"her2st-small"``; ``hist2st list models``).
            Use :meth:`ExpressionModel.from_pretrained` for a model on the hub.
        custom: Classes or factories that the model was built with, by argument: ``gnn=MyConv``.

    Returns:
        The model in eval mode, with its ``preprocessing``.

    Raises:
        FileNotFoundError: If there is no model at ``path``.
        ValueError: If the file is damaged or has another format, or its weights do not fit.

    >>> from tempfile import TemporaryDirectory
    >>> import hist2st_pyg as h
    >>> with TemporaryDirectory() as folder:
    ...     type(h.load_model(h.MODELS["mean"](5).save_pretrained(folder))).__name__
    'Mean'
    """
    return load_local(ExpressionModel, ExpressionModel.keyed, path, str(path), custom)
