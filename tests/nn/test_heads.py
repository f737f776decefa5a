from __future__ import annotations

import numpy as np
import torch

from hist2st_pyg.nn import Distillation, ExpressionHead

C, G, N = 16, 5, 7


def embeddings(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(N, C, generator=torch.Generator().manual_seed(0))


def test_expression_is_a_linear_map_of_the_normalized_embedding() -> None:
    torch.manual_seed(0)
    head, x = ExpressionHead(C, G), embeddings()
    centered = x - x.mean(1, keepdim=True)
    normed = centered / (centered.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), normed @ head[1].weight.T + head[1].bias)


def test_distillation_weights_each_view_of_a_spot() -> None:
    torch.manual_seed(0)
    distillation = Distillation(C)
    h, expression = torch.randn(3, N, C), torch.randn(3, N, G)
    score = distillation.weight(h).detach().double().numpy()
    weight = np.exp(score) / np.exp(score).sum(0)
    np.testing.assert_allclose(
        distillation(h, expression).detach(), (weight * expression.double().numpy()).sum(0), atol=1e-6
    )


def test_distillation_weights_sum_to_one() -> None:
    torch.manual_seed(0)
    distillation = Distillation(C)
    h, one = 5 * torch.randn(4, N, C), torch.randn(N, G)
    torch.testing.assert_close(distillation(h, one.expand(4, N, G)), one)
    expression = torch.randn(4, N, G)
    mixed = distillation(h, expression)
    assert bool((mixed <= expression.amax(0) + 1e-6).all())
    assert bool((mixed >= expression.amin(0) - 1e-6).all())
    # The spots are weighted apart: other views of one spot leave the rest as it was.
    h[:, 2] += torch.randn(4, C)
    moved = (distillation(h, expression) - mixed).abs().amax(1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [2]
