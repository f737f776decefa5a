"""Random views of patches, drawn on the patches' device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchAugmentation(nn.Module):
    """Convert patches to grey, rotate, mirror and recolor them at random.

    The defaults are the paper's three transforms, drawn once for all patches of a call as in the original program.

    Args:
        grayscale: Probability of a grey patch.
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
        x = patches
        draws = len(x) if self.per_spot else 1

        def chance(probability: float) -> Tensor:
            return (torch.rand(draws, device=x.device) < probability)[:, None, None, None]

        if self.symmetries:
            x = torch.where(chance(0.5), x.flip(3), x)
            x = torch.where(chance(0.5), x.flip(2), x)
            x = torch.where(chance(0.5), x.transpose(2, 3), x)
        x = x.float()  # after the symmetries, which are faster on bytes
        if self.grayscale:
            x = torch.where(chance(self.grayscale), _grey(x), x)
        if self.rotation:
            x = _turn(x, (2 * torch.rand(draws, device=x.device) - 1) * math.radians(self.rotation))
        if self.flip:
            x = torch.where(chance(self.flip), x.flip(3), x)
        if self.jitter:
            # All scales share one draw: a stain does not change with the field of view.
            scales = x.shape[1] // 3
            gain, offset = (
                (self.jitter * torch.randn(draws, 3, 1, 1, device=x.device)).repeat(1, scales, 1, 1) for _ in range(2)
            )
            x = x * (1 + gain) + 255 * offset
        return x


def symmetries(patches: Tensor) -> list[Tensor]:
    """The eight symmetries of square patches [N, C, P, P]: four rotations, each with its mirror image."""
    turned = [torch.rot90(patches, turns, (2, 3)) for turns in range(4)]
    return [view for x in turned for view in (x, x.flip(3))]


def _grey(x: Tensor) -> Tensor:
    """ITU-R 601 luma in all three channels of each scale."""
    luma = torch.tensor([0.2989, 0.587, 0.114], device=x.device, dtype=x.dtype)
    scales = x.view(len(x), -1, 3, *x.shape[2:])
    return (scales * luma[:, None, None]).sum(2, keepdim=True).expand_as(scales).flatten(1, 2)


def _turn(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate by ``angle`` [1 or N] (radians) with the nearest pixel."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3).expand(len(x), 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)
