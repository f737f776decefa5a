from __future__ import annotations

import pytest
import torch

from hist2st_pyg.nn.gradient_enhancement import CrossDifference, GradientEnhancement


def test_a_pixel_and_those_beside_it_less_a_share_of_the_pixel() -> None:
    layer, x = CrossDifference(2, 3, share=0.7), torch.randn(1, 2, 5, 6)
    found = layer(x)[0]
    padded = torch.nn.functional.pad(x[0], (1, 1, 1, 1))
    for row in range(5):
        for column in range(6):
            near = padded[:, row : row + 3, column : column + 3]
            cross = torch.stack([near[:, 0, 1], near[:, 1, 0], near[:, 1, 1], near[:, 1, 2], near[:, 2, 1]], dim=1)
            expected = (layer.weight * cross).sum((1, 2)) - 0.7 * layer.weight.sum(2) @ near[:, 1, 1]
            torch.testing.assert_close(found[:, row, column], expected)


def test_of_a_flat_image_only_the_rest_is_left() -> None:
    flat = torch.full((1, 3, 7, 7), 5.0)
    assert CrossDifference(3, 4, share=1.0)(flat)[:, :, 1:-1, 1:-1].abs().max() < 1e-5


@pytest.mark.parametrize(("side", "half"), [(16, 8), (15, 8)])
def test_enhanced_is_half_as_large(side: int, half: int) -> None:
    assert GradientEnhancement(6)(torch.rand(2, 6, side, side)).shape == (2, 6, half, half)
