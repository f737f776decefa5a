"""Prediction: a model and an image in, an AnnData out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.convert import Recipe, SectionData, spot_pitch
from hist2st_pyg.data.spots import Spots, hexagonal_grid, inside, read_spots
from hist2st_pyg.data.tissue import tissue_mask
from hist2st_pyg.files import atomic_path
from hist2st_pyg.image import HistologyImage, open_image
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    from anndata import AnnData


logger = logging.getLogger(__name__)
GRID = "hexagonal grid on the tissue"
THUMBNAIL = 1024
"""Longer side of the image kept in ``uns["spatial"]``, in pixels."""


def predict(
    model: ExpressionModel,
    image: HistologyImage | NDArray[np.uint8] | str | Path,
    spots: Spots | str | Path | None = None,
    *,
    pitch: float | None = None,
    um_per_pixel: float | None = None,
    device: str = "auto",
    name: str | None = None,
) -> AnnData:
    """Predict expression from an image.

    Args:
        model: A trained model with its recipe, as :func:`~hist2st_pyg.load_model` gives it.
        image: The H&E image: an array or a file.
        spots: Where to predict: spots or a spot file; None lays a hexagonal grid over the tissue.
        pitch: Distance of the grid's spots in pixels; None takes that of the training sections (in µm where both
            resolutions are known).
        um_per_pixel: Resolution of the image in µm per pixel, where known.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        name: Name of the section; None takes the file's.

    Returns:
        ``X`` predicted log10 expression [N, G], ``var_names`` the panel, ``obs_names`` the spots,
        ``obsm["spatial"]`` x, y in pixels, layers ``mean`` and ``sd`` of the counts at size factor 1 where the
        model has a likelihood, and what scanpy and squidpy need to draw it (``uns["spatial"]``).

    Raises:
        ValueError: If the model has no recipe, there is no tissue, or the input does not fit the model.
    """
    recipe = require_recipe(model)
    if um_per_pixel is not None and not um_per_pixel > 0:
        raise ValueError(f"um_per_pixel is positive or None (unknown), got {um_per_pixel!r}.")
    name = name or (Path(image).stem if isinstance(image, str | Path) else "section")
    picture = open_image(image)
    where, array_pitch = "spots given", None
    if spots is None:
        # A finer grid than the array shows the same fields of view, so they do not follow its pitch.
        array_pitch = recipe.pitch if pitch is not None else None
        spots = lay_grid(picture, grid_pitch(recipe, um_per_pixel) if pitch is None else pitch)
        where = GRID
    elif not isinstance(spots, Spots):
        spots = read_spots(spots)
    data = recipe.image_data(picture, spots.pos, spots.grid, um_per_pixel=um_per_pixel, pitch=array_pitch, name=name)
    out = run_model(model, data, device)
    return _anndata(model, out, spots, picture, name, {"um_per_pixel": um_per_pixel, "positions": where})


def predict_section(model: ExpressionModel, section: Section, device: str = "auto") -> AnnData:
    """Predict expression for a section's own spots; see :func:`predict`.

    Its counts are not read, unless the model's ``task`` is another than prediction.
    """
    data = model_data(model, section)
    spots = Spots([str(spot) for spot in section.adata.obs_names], section.pos, section.grid)
    image = section.require_image() if section.image is not None else None
    notes = {"um_per_pixel": section.um_per_pixel, "positions": "spots given"}
    return _anndata(model, run_model(model, data, device), spots, image, section.name, notes)


def model_data(model: ExpressionModel, section: Section, cache: str | Path | None = None) -> SectionData:
    """What a model reads of a section: patches and graph, and the counts only where its ``task`` needs them.

    Args:
        model: A model with its recipe.
        section: The section.
        cache: Folder of the patch cache, or None.
    """
    recipe = require_recipe(model)
    return recipe.to_data(section, cache) if model.uses_counts else recipe.input_data(section, cache)


def require_recipe(model: ExpressionModel) -> Recipe:
    """The model's recipe, or an error that says how a model comes by one."""
    if model.recipe is None:
        raise ValueError(
            "The model has no recipe (gene panel, patch size, graph), so it cannot be given an image; models trained "
            "by `hist2st train` have one, others get one by `model.recipe = Recipe(genes=...)`."
        )
    return model.recipe


def grid_pitch(recipe: Recipe, um_per_pixel: float | None) -> float:
    """Distance of the training spots in this image's pixels.

    Raises:
        ValueError: If the recipe does not know it.
    """
    if recipe.pitch is None:
        raise ValueError("The model does not know its training sections' spot distance; give the pitch in pixels.")
    known = recipe.pitch_in(um_per_pixel)
    if known is not None:
        return known
    logger.warning(
        "The resolution of this image or of the training images is unknown; they are taken to be the same and the "
        "grid's pitch is %.1f px, as in training.",
        recipe.pitch,
    )
    return recipe.pitch


def lay_grid(image: HistologyImage, pitch: float) -> Spots:
    """A hexagonal grid over the tissue.

    Args:
        image: The H&E image.
        pitch: Distance of neighbouring spots in pixels.

    Raises:
        ValueError: If no tissue is found.
    """
    thumbnail = image.thumbnail(THUMBNAIL)
    return inside(hexagonal_grid(image.size, pitch), tissue_mask(thumbnail), thumbnail.shape[1] / image.size[0])


def run_model(model: ExpressionModel, data: SectionData, device: str = "auto") -> dict[str, Tensor]:
    """The model's output in eval mode, on the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: no CUDA device is found; take 'auto' or 'cpu'.")
    was_training = model.training
    model = model.to(device).eval()
    with torch.inference_mode():
        out = model(data.to(device))
    model.train(was_training)
    return {key: value.float().cpu() for key, value in out.items()}


def _anndata(
    model: ExpressionModel,
    out: dict[str, Tensor],
    spots: Spots,
    image: HistologyImage | None,
    name: str,
    notes: dict[str, Any],
) -> AnnData:
    import anndata
    import pandas as pd

    recipe = require_recipe(model)
    result = anndata.AnnData(
        X=out["expression"].numpy(),
        obs=pd.DataFrame({"array_col": spots.grid[:, 0], "array_row": spots.grid[:, 1]}, index=spots.names),
        var=pd.DataFrame(index=list(recipe.genes)),
        obsm={"spatial": spots.pos, "hist2st": out["embedding"].numpy()},
    )
    likelihood = getattr(model, "likelihood", None)
    if likelihood is not None:
        mean, variance = likelihood.moments(out)
        result.layers["mean"], result.layers["sd"] = mean.numpy(), variance.sqrt().numpy()
    if image is not None:
        thumbnail = image.thumbnail(THUMBNAIL)
        result.uns["spatial"] = {
            name: {
                "images": {"hires": thumbnail},
                "scalefactors": {
                    "tissue_hires_scalef": thumbnail.shape[1] / image.size[0],
                    # Spots of unknown size are drawn half a pitch wide, about what ST and Visium have.
                    "spot_diameter_fullres": spot_pitch(spots.pos) / 2,
                },
                "metadata": {},
            }
        }
    known = {key: value for key, value in notes.items() if value is not None}
    result.uns["hist2st"] = {
        "unit": f"log10(1 + counts per 10,000 of the {recipe.total} genes' counts)",
        "training_sections": model.training_sections.get("train", []),
        "task": model.task,
        **known,
    }
    return result


def write_h5ad(adata: AnnData, path: str | Path) -> None:
    """Write an AnnData atomically."""
    with atomic_path(path) as temporary:
        adata.write_h5ad(temporary, compression="gzip")
