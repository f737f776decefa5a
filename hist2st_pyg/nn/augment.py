"""Random views of patches, drawn on the patches' device."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class View(NamedTuple):
    """Augmented patches, and the color map ``gain * x + 255 * offset`` that was applied last, if colors were drawn.

    Args:
        patches: float [N, 3·S, P, P].
        gain: Gain of each color [N or 1, 3].
        offset: Offset of each color [N or 1, 3], on the scale 0 to 1.
    """

    patches: Tensor
    gain: Tensor | None = None
    offset: Tensor | None = None


class PatchAugmentation(nn.Module):
    """Convert patches to gray, rotate, mirror and recolor them at random.

    The defaults are the paper's three transforms, drawn once for all patches of a call as in the original program.

    Args:
        grayscale: Probability of a gray patch.
        rotation: Largest rotation in degrees; the angle is uniform in both directions, corners are black as in the
            paper.
        flip: Probability of a horizontal mirror image.
        jitter: Standard deviation of a random gain and offset for each color channel, as a share of 255.
        symmetries: Also draw one of the square's eight symmetries (no interpolation, no black corners).
        per_spot: Draw for each spot instead of once for all.

    Shapes:
        - uint8 or float patches 0 to 255, [N, 3·S, P, P] -> float [N, 3·S, P, P]
    """

    def __init__(
        self,
        grayscale: float = 0.1,
        rotation: float = 90.0,
        flip: float = 0.2,
        jitter: float = 0.0,
        symmetries: bool = False,
        per_spot: bool = False,
    ) -> None:
        super().__init__()
        self.grayscale, self.rotation, self.flip = grayscale, rotation, flip
        self.jitter, self.symmetries, self.per_spot = jitter, symmetries, per_spot

    def forward(self, patches: Tensor) -> Tensor:
        return self.draw(patches).patches

    def draw(self, patches: Tensor) -> View:
        """Draw a view and its color map, from which the view's statistics can be computed."""
        x, draws = patches, len(patches) if self.per_spot else 1

        def chance(probability: float) -> Tensor:
            return torch.rand(draws, device=patches.device) < probability

        if self.symmetries:
            x = _mirrored(x, *(chance(0.5) for _ in range(3)))
        if self.grayscale:
            x = x.float()
            x = torch.where(chance(self.grayscale)[:, None, None, None], _gray(x), x)
        if self.rotation:
            x = _turn(x.float(), (2 * torch.rand(draws, device=x.device) - 1) * math.radians(self.rotation))
        if self.flip:
            x = torch.where(chance(self.flip)[:, None, None, None], x.flip(3), x)
        if not self.jitter:
            return View(x.float())
        gain, offset = (self.jitter * torch.randn(draws, 3, 1, 1, device=x.device) for _ in range(2))
        gain = 1 + gain
        # All scales share one draw: a stain does not change with the field of view.
        factor, shift = (value.repeat(1, x.shape[1] // 3, 1, 1) for value in (gain, 255 * offset))
        # Multiply, then add: torch's fused operation is six times slower with broadcast factors.
        return View((x.float() * factor).add_(shift), gain.flatten(1), offset.flatten(1))

    @property
    def keeps_statistics(self) -> bool:
        """Whether a view has the statistics of its patches apart from the jitter (only mirrored, turned by 90°)."""
        return not self.grayscale and not self.rotation


def symmetries(patches: Tensor) -> list[Tensor]:
    """The eight symmetries of square patches [N, C, P, P]: four rotations, each with its mirror image."""
    turned = [torch.rot90(patches, turns, (2, 3)) for turns in range(4)]
    return [view for x in turned for view in (x, x.flip(3))]


def _mirrored(x: Tensor, across: Tensor, down: Tensor, transposed: Tensor) -> Tensor:
    """Mirror and transpose each patch by its three draws, [N] or [1]."""
    choice = (4 * transposed.int() + 2 * down.int() + across.int()).expand(len(x))
    order = choice.argsort(stable=True)
    # Transform all patches of a symmetry together, then restore the order: index_select copies whole rows, assignment
    # to rows copies single numbers.
    views = [
        _symmetry(x.index_select(0, rows), symmetry)
        for symmetry, rows in enumerate(torch.split(order, choice.bincount(minlength=8).tolist()))
    ]
    return torch.cat(views).index_select(0, order.argsort())


def _symmetry(x: Tensor, number: int) -> Tensor:
    """Apply one of the eight symmetries; its bits select mirroring across, mirroring down and transposition."""
    if number & 1:
        x = x.flip(3)
    if number & 2:
        x = x.flip(2)
    return x.transpose(2, 3) if number & 4 else x


def _gray(x: Tensor) -> Tensor:
    """ITU-R 601 luma in all three channels of each scale."""
    luma = torch.tensor([0.2989, 0.587, 0.114], device=x.device, dtype=x.dtype)
    scales = x.view(len(x), -1, 3, *x.shape[2:])
    return (scales * luma[:, None, None]).sum(2, keepdim=True).expand_as(scales).flatten(1, 2)


def _turn(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate by ``angle`` [1 or N] (radians) with the nearest pixel."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3).expand(len(x), 2, 3)
    sampled = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, sampled, mode="nearest", padding_mode="zeros", align_corners=False)
