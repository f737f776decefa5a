"""Show what a saved model is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """The arguments of the command."""
    parser.add_argument("model", type=str, help="A run folder, a saved model's folder, or a checkpoint.")
    return run


def run(parsed: Namespace) -> None:
    """Print what a saved model is."""
    import json

    from hist2st_pyg.models import load_model
    from hist2st_pyg.models.pretrained import describe

    model = load_model(parsed.model)
    description = describe(model)
    recipe = description["recipe"]
    if recipe is not None:
        genes = recipe["genes"]
        recipe["genes"] = f"{len(genes)} genes: {', '.join(genes[:5])}{', ...' if len(genes) > 5 else ''}"
    description["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps(description, indent=2))
