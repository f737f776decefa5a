"""Whether an image fits what a model was trained on: its resolution, its spots' distance, its colors.

What does not fit is said in words, as notes that go to the log and into the prediction.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.nn.transformer import TablePosition

SAME = 0.1
"""Resolutions and distances that differ by less than this share are the same."""

FAR = 0.5
"""Color distance from which a slide's colors are said not to be those of training.

Measured on real sections: those of one tissue are 0.04 to 0.54 apart with ``stain="macenko"``, 0.08 to 0.85 as scanned,
those of different tissues 0.07 to 1.0 and 0.08 to 2.3. From 0.25 on the genes' means are off by twice as much and more.
"""


def resolution_notes(preprocessing: Preprocessing, um_per_pixel: float | None) -> list[str]:
    """What an image's resolution means for patches that are cut by pixels.

    Args:
        preprocessing: The model's preprocessing.
        um_per_pixel: Resolution of the image, where known.
    """
    if um_per_pixel is None or preprocessing.um_per_pixel is None or preprocessing.embedding is not None:
        return []
    ratio = um_per_pixel / preprocessing.um_per_pixel
    if preprocessing.patch_um is not None or preprocessing.patch_pitch is not None or abs(ratio - 1) < SAME:
        return []
    return [
        f"The image has {um_per_pixel:g} µm per pixel, the training images {preprocessing.um_per_pixel:g}, and the "
        f"model's patches are {preprocessing.patch_size} pixels of whatever size: they show {ratio:.2g} times the "
        "width of tissue that it was trained on. Scale the image, or train with data.patch_um or data.patch_pitch."
    ]


def pitch_notes(pitch: float, trained: float | None) -> list[str]:
    """What it means that spots are not as far apart as those of training.

    Args:
        pitch: Distance of neighboring spots in pixels.
        trained: Distance of the training spots in pixels of this image, where known.
    """
    if trained is None or abs(pitch / trained - 1) < SAME:
        return []
    apart = f"The spots are {pitch:.4g} px apart, those of training were {trained:.4g} px apart in this image's pixels."
    if pitch < trained:
        return [
            f"{apart} Values between the measured distance are an interpolation of what the model has learned there, "
            "not measurements at this resolution."
        ]
    return [f"{apart} A spot's neighbors are farther away than those the model has learned from."]


def check_positions(model: ExpressionModel, places: NDArray[np.int64]) -> None:
    """Refuse array positions outside a model's position table before any work is done.

    Args:
        model: The model.
        places: Array column and row of the spots [N, 2].

    Raises:
        ValueError: If a position is outside the table; the message says its size.
    """
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, TablePosition):
                corners = torch.from_numpy(places[[*places.argmin(0), *places.argmax(0)]])
                module(corners.to(module.column.weight.device))


class Colors:
    """Mean color of patches that come in parts, beside that of the training patches.

    Args:
        model: The model; one without fitted color statistics has nothing to compare with.
    """

    def __init__(self, model: ExpressionModel) -> None:
        mean, std = model.pixel_mean.cpu().double(), model.pixel_std.cpu().double()
        self.fitted = bool((mean != 0).any())
        self.mean, self.std = mean, std
        self.sum, self.pixels = torch.zeros_like(mean), 0

    def add(self, x: Tensor) -> None:
        """Count in patches, uint8 [n, 3·S, P, P], after the stain normalization; embeddings have no color."""
        if self.fitted and x.dim() == 4:
            self.sum += x.sum((0, 2, 3), dtype=torch.int64).cpu()
            self.pixels += x[:, 0].numel()

    @property
    def distance(self) -> float | None:
        """Distance of the mean color from that of training, in standard deviations of the training pixels.

        The root of the mean square over the 3·S channels of (mean − training mean) / training deviation; None where
        there is nothing to compare.
        """
        if not self.pixels:
            return None
        return float((((self.sum / self.pixels - self.mean) / self.std) ** 2).mean().sqrt())

    @property
    def notes(self) -> list[str]:
        """A warning where the distance is large."""
        distance = self.distance
        if distance is None or distance < FAR:
            return []
        return [
            f"The patches' mean color is {distance:.2f} standard deviations of the training pixels from that of "
            f"training (sections of one tissue and stain are mostly within {FAR:g}): another stain, scanner or tissue, "
            "or spots on glass. Levels of expression are then less certain than their pattern."
        ]
