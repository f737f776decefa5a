"""Optimizers and learning rate schedules, and their options in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from hist2st_pyg.training.config import TrainingConfig
from hist2st_pyg.utils.json_files import check_kinds, kinds_of
from hist2st_pyg.utils.safe_load import read_tensors

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
LR_SCHEDULERS = {"constant": None, "cosine": "step", "step": "epoch"}
"""The schedules, with the interval at which each is stepped."""
TRAINING = "training"
"""Key of the training options in a checkpoint."""


def optimizers(
    parameters: Iterable[torch.nn.Parameter], options: TrainingConfig, lr: float, steps: Callable[[], int]
) -> Any:
    """Build the optimizer and the learning rate schedule in Lightning's format.

    Args:
        parameters: The trained parameters.
        options: The training options.
        lr: The learning rate, in place of the options'.
        steps: Returns the number of steps; called only if the schedule depends on it.
    """
    parameters = list(parameters)
    more: dict[str, Any] = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    # On a CPU, torch's default updates each tensor separately, in a dozen operations.
    more["fused"] = all(parameter.device.type == "cpu" for parameter in parameters) or None
    optimizer = OPTIMIZERS[options.optimizer](parameters, lr=lr, weight_decay=options.weight_decay, **more)  # type: ignore[call-arg]
    if options.lr_scheduler == "constant":
        return optimizer
    if options.lr_scheduler == "step":
        scheduler: Any = torch.optim.lr_scheduler.StepLR(optimizer, options.step_size, options.gamma)
    else:
        warmup = max(1, round(options.warmup * (n := steps())))
        scheduler = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, n - warmup)),
            ],
            [warmup],
        )
    interval = LR_SCHEDULERS[options.lr_scheduler]
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}


def saved_training(path: str | Path) -> TrainingConfig:
    """Read the training options from a checkpoint.

    Raises:
        ValueError: If there are none, or a value is invalid.
    """
    checkpoint = read_tensors(Path(path))
    if not isinstance(checkpoint, dict) or not isinstance(saved := checkpoint.get(TRAINING), dict):
        raise ValueError(f"{path} has no training options; pass training=TrainingConfig(...).")
    augmentation = dict[str, float | bool] | None
    kinds = {**kinds_of(TrainingConfig), "view_augmentation": augmentation, "augment": augmentation}
    check_kinds(saved, kinds, f"{path}: {TRAINING}")
    try:
        return TrainingConfig(**saved)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
