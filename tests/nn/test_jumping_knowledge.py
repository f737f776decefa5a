"""Ways to read all layers of a GNN."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hist2st_pyg.nn import JUMPING_KNOWLEDGE

C = 16


def test_jumping_knowledge_by_formula() -> None:
    torch.manual_seed(0)
    depths = [torch.randn(6, C) for _ in range(3)]
    assert torch.equal(JUMPING_KNOWLEDGE["last"](C, 3)(depths), depths[2])
    np.testing.assert_array_equal(
        JUMPING_KNOWLEDGE["max"](C, 3)(depths).numpy(), np.maximum.reduce([d.numpy() for d in depths])
    )
    cat = JUMPING_KNOWLEDGE["cat"](C, 3)
    weight, bias = cat.lin.weight, cat.lin.bias
    expected = sum(d @ weight[:, i * C : (i + 1) * C].T for i, d in enumerate(depths)) + bias
    torch.testing.assert_close(cat(depths), expected)


def test_the_papers_jk_is_a_two_layer_lstm_averaged_over_depth() -> None:
    torch.manual_seed(0)
    jk = JUMPING_KNOWLEDGE["hist2st"](C, 3)
    depths = [torch.randn(6, C) for _ in range(3)]
    weights = {name: value.detach().double().numpy() for name, value in jk.lstm.named_parameters()}

    def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-z))

    sequence = [d.double().numpy() for d in depths]
    for layer in range(2):
        h = c = np.zeros((6, C))
        outputs = []
        for x in sequence:
            gates = x @ weights[f"weight_ih_l{layer}"].T + weights[f"bias_ih_l{layer}"]
            gates = gates + h @ weights[f"weight_hh_l{layer}"].T + weights[f"bias_hh_l{layer}"]
            i, f, g, o = np.split(gates, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            outputs.append(h)
        sequence = outputs
    np.testing.assert_allclose(jk(depths).detach().numpy(), np.mean(sequence, axis=0), atol=1e-6)
