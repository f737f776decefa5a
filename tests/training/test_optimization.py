from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hist2st_pyg.training.config import TrainingConfig
from hist2st_pyg.training.optimization import OPTIMIZERS, optimizers


def steps(optimizer: torch.optim.Optimizer, model: nn.Module, number: int) -> None:
    for _ in range(number):
        optimizer.zero_grad()
        model(torch.ones(2, 5)).square().sum().backward()
        optimizer.step()


def built(model: nn.Module, name: str) -> torch.optim.Optimizer:
    options = TrainingConfig(optimizer=name, lr=0.01, weight_decay=0.1, lr_scheduler="constant")  # type: ignore[arg-type]
    return optimizers(model.parameters(), options, options.lr, lambda: 1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_fused_steps_on_a_cpu_are_the_plain_ones(name: str) -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3))
    theirs = copy.deepcopy(ours)
    optimizer = built(ours, name)
    assert optimizer.param_groups[0]["fused"]
    more = {"momentum": 0.9} if name == "sgd" else {}
    plain = OPTIMIZERS[name](theirs.parameters(), lr=0.01, weight_decay=0.1, **more)  # type: ignore[call-arg]
    steps(optimizer, ours, 20)
    steps(plain, theirs, 20)
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_run_that_began_with_plain_steps_goes_on_with_them_bit_for_bit() -> None:
    torch.manual_seed(0)
    whole = nn.Linear(5, 4)
    plain = torch.optim.AdamW(whole.parameters(), lr=0.01, weight_decay=0.1)
    steps(plain, whole, 3)
    resumed = copy.deepcopy(whole)
    optimizer = built(resumed, "adamw")
    optimizer.load_state_dict(copy.deepcopy(plain.state_dict()))
    steps(plain, whole, 3)
    steps(optimizer, resumed, 3)
    assert torch.equal(resumed.weight, whole.weight)


def test_on_another_device_torch_chooses_the_steps() -> None:
    assert built(nn.Linear(5, 4, device="meta"), "adamw").param_groups[0]["fused"] is None
