"""Graph layers over spots and exemplars, similar training spots (Yang et al., *Pattern Recognition* 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from hist2st_pyg.utils.scatter import scatter

LEAK = 0.2
"""Negative slope of every leaky ReLU."""


class ExemplarBridge(nn.Module):
    """Messages between spots and their exemplars, gated by their difference (the graph exemplar bridging block).

    Args:
        channels: Width C, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // 4
        self.exemplar, self.spot, self.expression = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.score = nn.Linear(channels, width, bias=False)
        self.gate = nn.Linear(width, 2 * width)
        self.to_exemplar, self.to_spot = nn.Linear(channels, channels), nn.Linear(channels, channels)
        for layer in self.children():
            nn.init.trunc_normal_(layer.weight, std=0.02)  # type: ignore[arg-type]
            if getattr(layer, "bias", None) is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, spot: Tensor, exemplar: Tensor, expression: Tensor, refer: Tensor) -> tuple[Tensor, Tensor]:
        """The messages to each spot [N, C] and to each exemplar [E, C].

        Args:
            spot: The spots [N, C].
            exemplar: The exemplars [E, C].
            expression: Their embedded expression [E, C].
            refer: Edges (exemplar, spot), [2, M].
        """
        source, target = refer
        spot, exemplar = (F.leaky_relu(x, LEAK) for x in (self.spot(spot), self.exemplar(exemplar)))
        known = torch.cat([exemplar, self.expression(expression)], dim=1)
        apart = F.leaky_relu(self.score(exemplar)[source] - self.score(spot)[target], LEAK)
        to_spot, to_exemplar = self.gate(apart).sigmoid().chunk(2, dim=1)

        def message(gate: Tensor, *ends: Tensor) -> Tensor:
            """The mean of the three parts [M, C] of both ends, each channel times its gate."""
            parts = torch.cat(ends, dim=1)
            gated = gate.repeat_interleave(parts.shape[1] // gate.shape[1], dim=1) * parts
            return gated.view(len(gated), 3, parts.shape[1] // 3).mean(1)

        for_spot = scatter(message(to_spot, known[source], spot[target]), target, len(spot), "mean")
        for_exemplar = scatter(message(to_exemplar, spot[target], known[source]), source, len(exemplar), "mean")
        return self.to_spot(for_spot), self.to_exemplar(for_exemplar)


class ExemplarLayer(nn.Module):
    """One layer: messages of neighbors among the spots and among the exemplars, averaged with those of the bridge.

    Args:
        channels: Width C, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.near, self.close = SAGEConv(channels, channels), SAGEConv(channels, channels)
        self.bridge = ExemplarBridge(channels)

    def forward(
        self, spot: Tensor, exemplar: Tensor, expression: Tensor, near: Tensor, refer: Tensor, close: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The updated features of the spots [N, C] and exemplars [E, C].

        Args:
            spot: The spots [N, C].
            exemplar: The exemplars [E, C].
            expression: Their embedded expression [E, C].
            near: Edges among the spots.
            refer: Edges (exemplar, spot).
            close: Edges among the exemplars.
        """
        to_spot, to_exemplar = self.bridge(spot, exemplar, expression, refer)
        spot = F.leaky_relu((self.near(spot, near) + to_spot) / 2, LEAK)
        return spot, F.leaky_relu((self.close(exemplar, close) + to_exemplar) / 2, LEAK)
