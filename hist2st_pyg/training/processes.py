"""Training in several processes, one per device: ranks, trainer arguments and communication."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from pytorch_lightning.utilities import rank_zero_only

Value = TypeVar("Value")


def rank() -> int:
    """The rank of this training process, from 0."""
    return int(rank_zero_only.rank)  # type: ignore[attr-defined]


def is_first() -> bool:
    """Whether this is the first process, the only one that writes files."""
    return rank() == 0


def trainer_arguments(accelerator: str, devices: int | str, strategy: str = "auto") -> dict[str, Any]:
    """Return the trainer's arguments for a strategy; ``"auto"`` is DDP on several devices.

    Args:
        accelerator: Lightning's ``accelerator``.
        devices: Lightning's ``devices``.
        strategy: Lightning's ``strategy``, or ``"auto"``.
    """
    gpus = torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 0
    if devices in (1, "1") or (devices in ("auto", -1, "-1") and gpus < 2):
        return {} if strategy == "auto" else {"strategy": strategy}
    # Parameters whose loss has weight 0 get no gradient. On CPUs torch has no synchronized batch norm, so it uses the
    # patches of each process separately.
    several = "ddp_find_unused_parameters_true" if strategy == "auto" else strategy
    return {"strategy": several, "sync_batchnorm": gpus > 0}


def gather(value: Value) -> list[Value]:
    """Gather a value of each process, by rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    values = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
