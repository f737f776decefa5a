"""The positions to predict: given spots, or a hexagonal grid on the tissue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import Preprocessing, spot_pitch
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.image.tissue import tissue_mask
from hist2st_pyg.inference.domain_shift import pitch_notes
from hist2st_pyg.inference.hexagonal import hexagonal_grid, inside, interleaved
from hist2st_pyg.io.spots import Spots, annotated_spots, read_spots

if TYPE_CHECKING:
    from anndata import AnnData

LAID_GRID = "hexagonal grid on the tissue"
GIVEN_SPOTS = "spots given"
THUMBNAIL_PIXELS = 1024
"""Longer side of the image kept in ``uns["spatial"]``, in pixels."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Spots and their array positions for the model.

    Args:
        spots: The spots.
        positions: The source of the spots, in words.
        places: Array column and row for the model [N, 2].
        arrays: The spots of each array, if several are interleaved.
        array_pitch: Distance of an array's spots in pixels; None measures it.
        notes: Warnings to store with the prediction.
        thumbnail: The picture on which the tissue was found, if any.
    """

    spots: Spots
    positions: str
    places: NDArray[np.int64]
    arrays: list[NDArray[np.int64]] | None
    array_pitch: float | None
    notes: list[str]
    thumbnail: NDArray[np.uint8] | None = None


def given_layout(
    spots: Spots | AnnData | str | Path, preprocessing: Preprocessing, um_per_pixel: float | None
) -> Layout:
    """Arrange given spots, or those of an AnnData or a spot file.

    Args:
        spots: The spots, the AnnData or the file.
        preprocessing: The model's preprocessing.
        um_per_pixel: Resolution of the image, if known.

    Raises:
        TypeError: If the spots have another type.
    """
    if isinstance(spots, str | Path):
        spots = read_spots(spots)
    elif hasattr(spots, "obsm"):
        spots = annotated_spots(spots)
    elif not isinstance(spots, Spots):
        raise TypeError(f"spots must be an AnnData, a spot file or Spots, got {type(spots).__name__}.")
    notes = pitch_notes(spot_pitch(spots.pos), preprocessing.pitch_in(um_per_pixel)) if len(spots) > 1 else []
    return Layout(spots, GIVEN_SPOTS, spots.grid, None, None, notes)


def grid_layout(
    image: HistologyImage,
    preprocessing: Preprocessing,
    um_per_pixel: float | None,
    pitch: float | None = None,
    pitch_um: float | None = None,
) -> Layout:
    """Lay a hexagonal grid over the tissue, at the training spots' distance or another.

    A grid of a finer pitch consists of several interleaved grids of about the training pitch. A spot's graph neighbors
    are on the same grid, at the training distance, so that a finer pitch adds spots without changing the predictions
    of the others.

    Args:
        image: The H&E image.
        preprocessing: The model's preprocessing.
        um_per_pixel: Resolution of the image, if known.
        pitch: Distance of the grid's spots in pixels.
        pitch_um: The same in µm; without both, the distance of the training spots.

    Raises:
        ValueError: If ``pitch_um`` is set for an image of unknown resolution, the pitch is unknown, or no tissue is
            found.
    """
    if pitch_um is not None:
        if um_per_pixel is None:
            raise ValueError(
                f"pitch_um={pitch_um:g} needs the image's um_per_pixel, which the file does not state; set it, or set "
                "pitch in pixels."
            )
        pitch = pitch_um / um_per_pixel
    notes = []
    trained = None
    if preprocessing.pitch is not None or pitch is None:
        trained = grid_pitch(preprocessing, um_per_pixel)
        if preprocessing.pitch_in(um_per_pixel) is None:
            notes.append(_unknown_resolution(trained))
    if pitch is None:
        pitch = trained
    assert pitch is not None
    thumbnail = image.thumbnail(THUMBNAIL_PIXELS)
    spots = lay_grid(image, pitch, thumbnail)
    factor = round(trained / pitch) if trained is not None else 1
    places, arrays = spots.grid, None
    if factor > 1:
        arrays, places = interleaved(spots.pos, pitch, factor)
    return Layout(spots, LAID_GRID, places, arrays, trained, notes + pitch_notes(pitch, trained), thumbnail)


def grid_pitch(preprocessing: Preprocessing, um_per_pixel: float | None) -> float:
    """Compute the distance of the training spots in this image's pixels.

    Raises:
        ValueError: If the preprocessing does not record it.
    """
    if preprocessing.pitch is None:
        raise ValueError(
            "The model's preprocessing lacks the spot distance of its training sections; set pitch in pixels."
        )
    return preprocessing.pitch_in(um_per_pixel) or preprocessing.pitch


def lay_grid(image: HistologyImage, pitch: float, thumbnail: NDArray[np.uint8] | None = None) -> Spots:
    """Lay a hexagonal grid over the tissue.

    Args:
        image: The H&E image.
        pitch: Distance of neighboring spots in pixels.
        thumbnail: Its thumbnail; None computes it.

    Raises:
        ValueError: If no tissue is found.
    """
    spots = hexagonal_grid(image.size, pitch)
    picture = image.thumbnail(THUMBNAIL_PIXELS) if thumbnail is None else thumbnail
    return inside(spots, tissue_mask(picture), picture.shape[1] / image.size[0])


def _unknown_resolution(pitch: float) -> str:
    return (
        "The resolution of this image or of the training images is unknown; assuming equal resolutions, the training "
        f"spots are {pitch:.1f} px apart in this image."
    )
