"""What is fast equals the published way, in prediction and in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

from benchmarks.reference import Reference, dense_graph
from hist2st_pyg import ExpressionTask, Hist2ST, Section, knn_edges, to_data
from hist2st_pyg.training import TrainingConfig

GENES = [f"GENE{i}" for i in range(1, 6)]
PAPER: dict[str, Any] = {"patch_size": 14, "transformer_layers": 2, "heads": 4, "dim_head": 16}


def made(cohort: list[Section], **arguments: Any) -> tuple[Hist2ST, Batch]:
    torch.manual_seed(0)
    model = Hist2ST(len(GENES), **{**PAPER, **arguments})
    return model, Batch.from_data_list([to_data(cohort[0], GENES, 14)])


@pytest.mark.parametrize("likelihood", ["zinb", "nb", None])
def test_a_prediction_is_that_of_the_formulas(cohort: list[Section], likelihood: str | None) -> None:
    model, batch = made(cohort, likelihood=likelihood)
    model.eval()
    out, expected = model(batch), Reference(model)(batch)
    assert out.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(out[name], value, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("memory_gb", [0, 1])
def test_a_step_is_that_of_the_formulas(cohort: list[Section], memory_gb: float) -> None:
    found = []
    for published in (False, True):
        model, batch = made(cohort, n_views=2)
        task = ExpressionTask(model, TrainingConfig(n_views=2), memory_gb).train()
        if published:
            task.model = Reference(model).train()  # type: ignore[assignment]
        torch.manual_seed(1)  # of dropout and of the views
        parts = task.losses(batch)
        torch.stack(list(parts.values())).sum().backward()
        found.append((parts, {name: value.grad for name, value in model.named_parameters()}))
    (parts, gradients), (expected, of_formulas) = found
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6, msg=name)
    for name, gradient in of_formulas.items():
        assert gradient is not None
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_the_graph_is_that_of_all_distances() -> None:
    pos = np.stack(np.meshgrid(np.arange(7), np.arange(5)), -1).reshape(-1, 2).astype(float)
    edge_index, _ = knn_edges(pos, 4, 1.0)
    matrix = np.zeros((35, 35))
    matrix[edge_index[1], edge_index[0]] = 1
    np.testing.assert_array_equal(matrix, dense_graph(pos, 4, 1.0))


def test_only_the_paper_s_model_has_a_reference() -> None:
    with pytest.raises(ValueError, match="one stream with the paper's graph layers"):
        Reference(Hist2ST(2, **PAPER, gnn="sage"))
