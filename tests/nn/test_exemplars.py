from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hist2st_pyg.nn.exemplars import LEAK, ExemplarBridge

C = 8
REFER = torch.tensor([[0, 1, 1, 2], [0, 0, 1, 3]])
"""Of exemplars 0 to 3, which nobody has, to spots 0 to 4."""


def ends(bridge: ExemplarBridge, spot: Tensor, exemplar: Tensor, expression: Tensor) -> tuple[list[Tensor], ...]:
    """The messages that each spot and each exemplar receives, an edge at a time."""
    to_spot: list[list[Tensor]] = [[] for _ in spot]
    to_exemplar: list[list[Tensor]] = [[] for _ in exemplar]
    for source, target in REFER.T.tolist():
        e = F.leaky_relu(bridge.exemplar(exemplar[source]), LEAK)
        s = F.leaky_relu(bridge.spot(spot[target]), LEAK)
        y = bridge.expression(expression[source])
        gates = torch.sigmoid(bridge.gate(F.leaky_relu(bridge.score(e) - bridge.score(s), LEAK)))
        for received, gate, parts in (
            (to_spot[target], gates[: C // 4], [e, y, s]),
            (to_exemplar[source], gates[C // 4 :], [s, e, y]),
        ):
            flat = torch.cat(parts)
            gated = torch.stack([gate[i // 12] * flat[i] for i in range(3 * C)])
            received.append((gated[:C] + gated[C : 2 * C] + gated[2 * C :]) / 3)
    empty = torch.zeros(C)
    return tuple([torch.stack(each).mean(0) if each else empty for each in side] for side in (to_spot, to_exemplar))


@torch.no_grad()
def test_each_message_is_gated_channel_by_channel() -> None:
    torch.manual_seed(0)
    bridge = ExemplarBridge(C)
    for parameter in bridge.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    spot, exemplar, expression = torch.randn(5, C), torch.randn(4, C), torch.randn(4, C)
    to_spot, to_exemplar = ends(bridge, spot, exemplar, expression)
    found = bridge(spot, exemplar, expression, REFER)
    torch.testing.assert_close(found[0], bridge.to_spot(torch.stack(to_spot)))
    torch.testing.assert_close(found[1], bridge.to_exemplar(torch.stack(to_exemplar)))
