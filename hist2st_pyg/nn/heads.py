"""The prediction of expression from embeddings, [N, C] -> [N, G], and the average over augmented views."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExpressionHead(nn.Sequential):
    """LayerNorm and a linear map to the expression of each gene.

    Shapes:
        - [N, C] -> [N, G]
    """

    def __init__(self, channels: int, n_genes: int) -> None:
        super().__init__(nn.LayerNorm(channels), nn.Linear(channels, n_genes))


class Distillation(nn.Module):
    """Self-distillation: the views' predictions averaged with weights from each view's embedding (Zeng et al. 2022).

    Shapes:
        - embeddings [V views, N, C], expressions [V, N, G] -> [N, G]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 1))

    def forward(self, embeddings: Tensor, expressions: Tensor) -> Tensor:
        return torch.sum(self.weight(embeddings).softmax(dim=0) * expressions, dim=0)
