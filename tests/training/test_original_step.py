"""One training step against the original Hist2ST's: loss, every gradient and batch norm's averages, in float64."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hist2st_pyg import ExpressionTask, compat
from hist2st_pyg.nn.augment import View
from hist2st_pyg.training import TrainingConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "training_step.npz"
BOUND = 1e-6
"""Largest difference, relative to the scale of what is compared."""


class Recorded(nn.Module):
    """The recorded views, one a call, instead of drawn ones."""

    def __init__(self, views: torch.Tensor) -> None:
        super().__init__()
        self.views = iter(views)

    def draw(self, patches: torch.Tensor) -> View:
        return View(next(self.views))


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def arrays() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def named(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


@pytest.mark.parametrize("case", ["zinb", "nb", "views"])
def test_a_training_step_is_the_original_s(arrays: dict[str, NDArray[Any]], case: str) -> None:
    config = json.loads(str(arrays[f"{case}.config"]))
    model = compat.load_hist2st(named(arrays, f"{case}.state."), config).train()
    # The recorded gradients by our names: they load as weights do.
    expected = compat.load_hist2st(named(arrays, f"{case}.expected."), config)
    inputs = {name: torch.from_numpy(value) for name, value in named(arrays, "in.").items()}
    data = compat.to_data(inputs["patches"], inputs["array_coords"], inputs["adjacency"])
    data.counts, data.size_factor, data.y = inputs["counts"], inputs["size_factor"], inputs["y"]
    views = {"n_views": config.get("bake", 0), "distillation_weight": config.get("lamb", 0)}
    options = {"likelihood_weight": config["zinb"], **views}
    task = ExpressionTask(model, TrainingConfig(**options))
    task.view = Recorded(inputs["views"].double())

    parts = task.losses(data)
    loss = torch.stack(list(parts.values())).sum()
    loss.backward()

    assert set(parts) == {"expression", "likelihood"} | ({"distillation"} if case == "views" else set())
    assert float(loss.detach()) == pytest.approx(float(arrays[f"{case}.loss"]), rel=BOUND)
    gradients = dict(expected.named_parameters())
    assert all(gradient.dtype == torch.float64 for gradient in gradients.values())
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # A bias before batch norm has no gradient but rounding.
        bound = BOUND * max(float(gradients[name].abs().max()), 1e-6 * largest)
        torch.testing.assert_close(parameter.grad, gradients[name].data, rtol=0, atol=bound, msg=name)
    averages = dict(expected.named_buffers())
    for name, buffer in model.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, averages[name], rtol=BOUND, atol=BOUND, msg=name)
        elif name.endswith("num_batches_tracked"):
            assert int(buffer) == int(averages[name]) == (6 if case == "views" else 1)
