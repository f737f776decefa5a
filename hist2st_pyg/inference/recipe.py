"""The recipe that a model needs to be given an image."""

from __future__ import annotations

from hist2st_pyg.data.convert import Recipe
from hist2st_pyg.models.base import ExpressionModel


def require_recipe(model: ExpressionModel) -> Recipe:
    """The model's recipe, or an error that says how a model comes by one."""
    if model.recipe is None:
        raise ValueError(
            "The model has no recipe (gene panel, patch size, graph), so it cannot be given an image; models trained "
            "by `hist2st train` have one, others get one by `model.recipe = Recipe(genes=...)`."
        )
    return model.recipe
