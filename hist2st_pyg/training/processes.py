"""Training in several processes, one a device: who writes, what Lightning is told, what they tell each other."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from pytorch_lightning.utilities import rank_zero_only

Value = TypeVar("Value")


def rank() -> int:
    """This process's number among those that train, from 0."""
    return int(rank_zero_only.rank)  # type: ignore[attr-defined]


def is_first() -> bool:
    """Whether this process writes; of several, the others only compute."""
    return rank() == 0


def trainer_arguments(accelerator: str, devices: int | str, strategy: str = "auto") -> dict[str, Any]:
    """The arguments of Lightning's trainer for a strategy: the one that is named, else DDP where several devices train.

    Args:
        accelerator: Lightning's.
        devices: Lightning's.
        strategy: Lightning's, or ``"auto"``.
    """
    gpus = torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 0
    if devices in (1, "1") or (devices in ("auto", -1, "-1") and gpus < 2):
        return {} if strategy == "auto" else {"strategy": strategy}
    # A part of the model that a loss of weight 0 leaves out has no gradient. torch has no batch norm over several
    # processes on CPUs: there it sees the patches of its own process.
    several = "ddp_find_unused_parameters_true" if strategy == "auto" else strategy
    return {"strategy": several, "sync_batchnorm": gpus > 0}


def gather(value: Value) -> list[Value]:
    """What each process has, by rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
