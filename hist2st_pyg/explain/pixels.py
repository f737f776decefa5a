"""Explain a prediction by the pixels of a patch: integrated gradients (Sundararajan et al., ICML 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.explain.receptive_field import ReceptiveField, fixed_features, vision_stages

BLUR_SHARE = 0.125
"""Standard deviation of the blur as a share of the patch."""


@dataclass(frozen=True, eq=False)
class PixelMap:
    """The contributions of one patch's pixels to a prediction.

    Args:
        spot: The spot's index in the section: the explained spot, or a neighbor.
        patch: The model's input, uint8 [S fields of view, P, P, 3].
        attribution: The contribution of each pixel, summed over its three colors, log10 expression [S, P, P]; its sum
            is the difference between the prediction and ``reference``.
        reference: The prediction with the blurred patch instead of the patch, log10 expression.
    """

    spot: int
    patch: NDArray[np.uint8]
    attribution: NDArray[np.float32]
    reference: float

    @property
    def importance(self) -> NDArray[np.float32]:
        """The absolute contribution of each pixel, [S, P, P]."""
        return np.abs(self.attribution)


def blurred(patch: Tensor) -> Tensor:
    """Blur a patch [3·S, P, P], which preserves its mean colors but removes its structure."""
    from scipy.ndimage import gaussian_filter1d

    image, sigma = patch.cpu().numpy(), BLUR_SHARE * patch.shape[-1]
    for axis in (1, 2):
        image = gaussian_filter1d(image, sigma, axis=axis, mode="reflect")
    return torch.from_numpy(image).to(patch)


def pixel_map(field: ReceptiveField, values: list[Tensor], row: int, steps: int, transpose_patches: bool) -> PixelMap:
    """Integrate a prediction's gradient along the straight path from the blurred patch to the patch.

    Args:
        field: The prediction.
        values: The features of its spots, from :func:`~hist2st_pyg.explain.receptive_field.features`.
        row: The row of the explained patch in the subgraph.
        steps: Points of the path (midpoint rule).
        transpose_patches: Whether the preprocessing's patches are [3, W, H]; the result is always [P rows, P columns].

    Raises:
        ValueError: If the vision stage has no gradient.
    """
    patch = field.subgraph.x[row].float()
    start = blurred(patch)
    total = torch.zeros_like(patch)
    for step in range(steps):
        x = torch.lerp(start, patch, (step + 0.5) / steps)[None].requires_grad_()
        with fixed_features(field, values, row):
            slopes: Sequence[Tensor | None] = torch.autograd.grad(field.predict(x), x, allow_unused=True)
        if slopes[0] is None:
            vision = type(vision_stages(field.model)[0]).__name__
            raise ValueError(f"{vision} has no gradient by the pixels; set pixels=0 to explain only the neighbors.")
        total += slopes[0][0]
    with torch.no_grad(), fixed_features(field, values, row):
        reference = float(field.predict(start[None]))
    attribution = ((patch - start) * total / steps).unflatten(0, (-1, 3)).sum(1).cpu().numpy()
    shown = field.subgraph.x[row].unflatten(0, (-1, 3)).permute(0, 2, 3, 1).cpu().numpy()
    if transpose_patches:
        attribution, shown = attribution.swapaxes(1, 2), shown.swapaxes(1, 2)
    return PixelMap(int(field.spots[row]), shown, attribution, reference)
