"""Check whether an image matches a model's training images in resolution, spot distance and color.

Mismatches become notes in the log and in the prediction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.nn.transformer import TablePosition

logger = logging.getLogger(__name__)

SAME_SCALE = 0.1
"""Resolutions and distances that differ by less than this share count as equal."""

FAR_COLORS = 0.5
"""Color distance from which a note warns that a slide's colors differ from training.

Measured between real sections: 0.04 to 0.54 within a tissue with ``stain="macenko"`` and 0.08 to 0.85 without; 0.07 to
1.0 and 0.08 to 2.3 between tissues. From 0.25 on, the error of the genes' means at least doubles.
"""


def resolution_notes(preprocessing: Preprocessing, um_per_pixel: float | None) -> list[str]:
    """Return a note if patches of a fixed number of pixels show another width of tissue than in training.

    Args:
        preprocessing: The model's preprocessing.
        um_per_pixel: Resolution of the image, if known.
    """
    if um_per_pixel is None or preprocessing.um_per_pixel is None or preprocessing.embedding is not None:
        return []
    ratio = um_per_pixel / preprocessing.um_per_pixel
    if preprocessing.patch_um is not None or preprocessing.patch_pitch is not None or abs(ratio - 1) < SAME_SCALE:
        return []
    return [
        f"The image has {um_per_pixel:g} µm per pixel, the training images {preprocessing.um_per_pixel:g}. The model's "
        f"patches are {preprocessing.patch_size} pixels wide at any resolution, so they show {ratio:.2g} times the "
        "width of tissue of training. Scale the image, or train with data.patch_um or data.patch_pitch."
    ]


def pitch_notes(pitch: float, trained: float | None) -> list[str]:
    """Return a note if the distance of the spots differs from training.

    Args:
        pitch: Distance of neighboring spots in pixels.
        trained: Distance of the training spots in pixels of this image, if known.
    """
    if trained is None or abs(pitch / trained - 1) < SAME_SCALE:
        return []
    apart = (
        f"The spots are {pitch:.4g} px apart; the training spots were {trained:.4g} px apart, in this image's pixels."
    )
    if pitch < trained:
        return [f"{apart} The model learned at the training distance, so the additional values are interpolated."]
    return [f"{apart} A spot's neighbors are farther away than in training."]


def log_notes(notes: Iterable[str], name: str) -> None:
    """Log each note as a warning, with the name of the image or section."""
    for note in notes:
        logger.warning("%s: %s", name, note)


def check_positions(model: ExpressionModel, places: NDArray[np.int64]) -> None:
    """Raise if array positions are outside the model's position table.

    Args:
        model: The model.
        places: Array column and row of the spots [N, 2].

    Raises:
        ValueError: If a position is outside the table; the message states the table's size.
    """
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, TablePosition):
                corners = torch.from_numpy(places[[*places.argmin(0), *places.argmax(0)]])
                module(corners.to(module.column.weight.device))


class Colors:
    """Compares the mean color of patches, added in blocks, with that of the training patches.

    Args:
        model: The model; the comparison needs its fitted color statistics.
    """

    def __init__(self, model: ExpressionModel) -> None:
        mean, std = model.pixel_mean.cpu().double(), model.pixel_std.cpu().double()
        self.fitted = bool((mean != 0).any())
        self.mean, self.std = mean, std
        self.sum, self.pixels = torch.zeros_like(mean), 0

    def add(self, x: Tensor) -> None:
        """Add patches, uint8 [n, 3·S, P, P], after the stain normalization; embeddings are ignored."""
        if self.fitted and x.dim() == 4:
            self.sum += x.sum((0, 2, 3), dtype=torch.int64).cpu()
            self.pixels += x[:, 0].numel()

    @property
    def distance(self) -> float | None:
        """The distance of the mean color from that of training, in standard deviations of the training pixels.

        The root mean square over the 3·S channels of (mean − training mean) / training deviation; None without patches
        or training statistics.
        """
        if not self.pixels:
            return None
        return float((((self.sum / self.pixels - self.mean) / self.std) ** 2).mean().sqrt())

    @property
    def notes(self) -> list[str]:
        """Return a warning if the distance is large."""
        distance = self.distance
        if distance is None or distance < FAR_COLORS:
            return []
        return [
            f"The patches' mean color is {distance:.2f} standard deviations of the training pixels from that of "
            f"training (mostly within {FAR_COLORS:g} for the same tissue and stain). Likely causes: another stain, "
            "scanner or tissue, or spots on glass. Predicted levels are then less reliable than spatial patterns."
        ]
