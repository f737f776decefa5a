"""Build a model's input from an image: spots, patches and graph, and mismatches with the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.spot_patches import SpotPatches
from hist2st_pyg.image import HistologyImage, open_image
from hist2st_pyg.inference.domain_shift import check_positions, log_notes, resolution_notes
from hist2st_pyg.inference.layout import Layout, given_layout, grid_layout
from hist2st_pyg.io.spots import Spots
from hist2st_pyg.models.base import ExpressionModel, require_preprocessing
from hist2st_pyg.utils.bounds import is_positive

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, eq=False)
class ImageInput:
    """A model's input from an image.

    Args:
        name: The image's name.
        image: The image.
        um_per_pixel: Its resolution, if known.
        layout: Its spots.
        notes: Warnings to store with the prediction; they were already logged.
        patches: The patches of the spots, read on access.
        graph: The graph of the spots.
    """

    name: str
    image: HistologyImage
    um_per_pixel: float | None
    layout: Layout
    notes: list[str]
    patches: SpotPatches
    graph: SectionData


def read_image(
    model: ExpressionModel,
    image: HistologyImage | NDArray[np.uint8] | str | Path,
    spots: Spots | AnnData | str | Path | None = None,
    *,
    pitch: float | None = None,
    pitch_um: float | None = None,
    um_per_pixel: float | None = None,
    name: str | None = None,
) -> ImageInput:
    """Build a model's input from an image; the arguments are those of :func:`~hist2st_pyg.predict`.

    Raises:
        ValueError: If the model has no preprocessing, no tissue is found, or the input does not fit the model.
    """
    preprocessing = require_preprocessing(model)
    check_layout(pitch, pitch_um, um_per_pixel, spots_given=spots is not None)
    name = name or (Path(image).stem if isinstance(image, str | Path) else "section")
    picture = open_image(image)
    um_per_pixel = picture.um_per_pixel if um_per_pixel is None else um_per_pixel
    if spots is None:
        layout = grid_layout(picture, preprocessing, um_per_pixel, pitch, pitch_um)
    else:
        layout = given_layout(spots, preprocessing, um_per_pixel)
    check_positions(model, layout.places)
    notes = [*resolution_notes(preprocessing, um_per_pixel), *layout.notes]
    log_notes(notes, name)
    pos = layout.spots.pos
    patches = preprocessing.patches(picture, pos, um_per_pixel=um_per_pixel, pitch=layout.array_pitch, name=name)
    graph = preprocessing.build_graph(pos, layout.places, layout.arrays)
    return ImageInput(name, picture, um_per_pixel, layout, notes, patches, graph)


def check_layout(
    pitch: float | None = None, pitch_um: float | None = None, um_per_pixel: float | None = None, *, spots_given: bool
) -> None:
    """Check those arguments of :func:`~hist2st_pyg.predict` that need no image.

    Args:
        pitch: Distance of the grid's spots in pixels.
        pitch_um: The same in µm.
        um_per_pixel: Resolution of the image.
        spots_given: Whether the user passes the spots; otherwise a grid is laid.

    Raises:
        ValueError: If a value is out of range, or the pitch is given twice or together with spots.
    """
    if um_per_pixel is not None and not is_positive(um_per_pixel):
        raise ValueError(f"um_per_pixel must be positive or None (the file's value), got {um_per_pixel!r}.")
    if pitch is not None and not (is_positive(pitch) and pitch >= 1):
        raise ValueError(f"pitch must be 1 pixel or more, got {pitch!r}.")
    if pitch_um is not None and not is_positive(pitch_um):
        raise ValueError(f"pitch_um must be positive, got {pitch_um!r}.")
    if pitch is not None and pitch_um is not None:
        raise ValueError(f"Set pitch or pitch_um, not both: got {pitch:g} px and {pitch_um:g} µm.")
    if spots_given and (pitch is not None or pitch_um is not None):
        raise ValueError("Set spots or pitch, not both: pitch is the spacing of a grid, which spots replace.")
