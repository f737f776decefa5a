"""Optimizers and schedules of the learning rate, by the options of training; and these options in a checkpoint."""

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
"""The schedules, and how often each is stepped."""
TRAINING = "training"
"""Where a checkpoint has the optimization."""


def optimizers(
    parameters: Iterable[torch.nn.Parameter], options: TrainingConfig, lr: float, steps: Callable[[], int]
) -> Any:
    """The optimizer, and the learning rate's schedule, as Lightning takes them.

    Args:
        parameters: What is trained.
        options: The options of training.
        lr: The learning rate, in place of the options'.
        steps: Gives the number of steps; it is asked where a schedule depends on it.
    """
    parameters = list(parameters)
    more: dict[str, Any] = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    # On a CPU torch's default updates tensor by tensor, in a dozen operations each.
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
    """The options of training in a checkpoint.

    Raises:
        ValueError: If there are none, or a value makes no sense.
    """
    checkpoint = read_tensors(Path(path))
    if not isinstance(checkpoint, dict) or not isinstance(saved := checkpoint.get(TRAINING), dict):
        raise ValueError(f"{path} does not say how its model was trained; pass training=TrainingConfig(...).")
    augmentation = dict[str, float | bool] | None
    kinds = {**kinds_of(TrainingConfig), "view_augmentation": augmentation, "augment": augmentation}
    check_kinds(saved, kinds, f"{path}: {TRAINING}")
    try:
        return TrainingConfig(**saved)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
