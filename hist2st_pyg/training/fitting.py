"""Fit a model, by gradient steps with Lightning or in closed form."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from hist2st_pyg.data.masks import validation_spots
from hist2st_pyg.models import ClosedFormModel, ExpressionModel, load_model
from hist2st_pyg.models.selection import mean_pcc, section_pcc
from hist2st_pyg.training.checkpoints import BEST, LAST, MONITOR, AtomicCheckpointIO, RunCheckpoint
from hist2st_pyg.training.config import TrainConfig, TrainingConfig
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.processes import trainer_arguments
from hist2st_pyg.training.progress import TrainingBar, TrainingLines, shows_progress
from hist2st_pyg.training.resume import last_checkpoint
from hist2st_pyg.training.task import ExpressionTask
from hist2st_pyg.utils.quiet import without_lines, without_warnings

logger = logging.getLogger(__name__)
LIGHTNING = ("pytorch_lightning", "lightning_fabric")
"""The loggers of Lightning's own messages."""
PYTREE = r".*isinstance\(treespec, LeafSpec\)"
"""A warning of torch about a call in Lightning."""
FROZEN = r"Found \d+ module\(s\) in eval mode"
"""Lightning's warning about frozen encoders."""


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Args:
        model: The chosen model.
        chosen_epoch: Its epoch; None for a closed-form fit.
        val_pcc: Its validation PCC; None without validation.
        epochs: Number of epochs.
        steps: Number of steps.
    """

    model: ExpressionModel
    chosen_epoch: int | None
    val_pcc: float | None
    epochs: int = 0
    steps: int = 0


def fit(config: TrainConfig, model: ExpressionModel, datamodule: SectionDataModule, loggers: list[Logger]) -> Fit:
    """Fit a model to the data module's training sections.

    Args:
        config: The configuration; with ``resume`` training continues from the run folder's last checkpoint.
        model: The model.
        datamodule: The data.
        loggers: Loggers of the losses and the validation PCC.
    """
    if isinstance(model, ClosedFormModel):
        return _at_once(model, datamodule)
    return _by_gradient(config, model, datamodule, loggers)


def _at_once(model: ClosedFormModel, datamodule: SectionDataModule) -> Fit:
    val = datamodule.validation()
    model.fit(datamodule.data("train"), val)
    model.eval()
    with torch.no_grad():
        predicted = [model(data)["expression"][validation_spots(data)].cpu().numpy() for data in val]
    scores = [section_pcc(*section) for section in zip(predicted, val, strict=True)]
    return Fit(model, None, mean_pcc(scores) if val else None)


def _by_gradient(
    config: TrainConfig, model: ExpressionModel, datamodule: SectionDataModule, loggers: list[Logger]
) -> Fit:
    output = config.folder
    checkpoints = RunCheckpoint(output, datamodule.validates)
    callbacks = [checkpoints, *_early_stopping(config.training, datamodule.validates)]
    with _signals(output), without_lines(*LIGHTNING), without_warnings(PYTREE, FROZEN):
        trainer = make_trainer(config, callbacks, loggers, datamodule.validates)
        trainer.fit(
            ExpressionTask(model, config.training, config.memory_gb),
            datamodule=datamodule,
            ckpt_path=last_checkpoint(output, config.resume),
            weights_only=True,
        )
    epochs, steps = checkpoints.epochs, trainer.global_step
    if epochs == 0:
        raise ValueError(
            f"training.max_minutes={config.training.max_minutes} ends before the first epoch; set a larger value."
        )
    if not datamodule.validates:
        return Fit(model, epochs - 1, None, epochs, steps)
    best = load_model(output / BEST, **_custom(config.model))
    return Fit(best, checkpoints.best_epoch, checkpoints.best_score, epochs, steps)


@contextmanager
def _signals(output: Path) -> Iterator[None]:
    """Exit with the usual status after a signal; Lightning exits with status 0 after SIGTERM.

    Raises:
        SystemExit: After SIGTERM, with status 143.
        KeyboardInterrupt: After SIGINT.
    """
    here = threading.current_thread() is threading.main_thread()
    # Lightning's handler finishes the step before it stops; the command line's handler would interrupt it.
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL) if here else None
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop, SIGTERMException):
            logger.warning("Training was stopped by SIGTERM. %s", _how_to_continue(output))
            raise SystemExit(128 + signal.SIGTERM) from None
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt(f"Training was interrupted. {_how_to_continue(output)}") from None
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _how_to_continue(output: Path) -> str:
    if not (output / LAST).exists():
        return "No epoch was finished, so the next call starts from the beginning."
    return f"{output / LAST} holds the last finished epoch; --resume true (resume=True) continues from it."


def _early_stopping(options: TrainingConfig, validates: bool) -> list[Callback]:
    """Return the callbacks that stop training early: without progress, or after the time limit."""
    stops: list[Callback] = []
    if options.patience is not None and validates:
        stops.append(EarlyStopping(MONITOR, patience=options.patience, mode="max"))
    if options.max_minutes is not None:  # at the end of an epoch, where checkpoints are written
        stops.append(Timer(timedelta(minutes=options.max_minutes), interval="epoch"))
    return stops


def make_trainer(config: TrainConfig, callbacks: list[Callback], loggers: list[Logger], validates: bool) -> pl.Trainer:
    """Build Lightning's trainer, which raises if the machine lacks the accelerator, the devices or the precision."""
    bar = shows_progress()
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        **trainer_arguments(config.accelerator, config.devices, config.strategy),
        precision=config.precision,  # type: ignore[arg-type]
        max_epochs=config.training.epochs,
        plugins=[AtomicCheckpointIO()],
        gradient_clip_val=config.training.gradient_clip_val,
        accumulate_grad_batches=config.training.accumulate_grad_batches,
        callbacks=[*callbacks, TrainingBar() if bar else TrainingLines()],
        logger=loggers,
        log_every_n_steps=1,
        enable_model_summary=False,
        enable_progress_bar=bar,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validates else 0,
        default_root_dir=config.output,
    )


def _custom(model: dict[str, Any]) -> dict[str, Any]:
    """Return the classes and factories among a model's arguments, which a file cannot store."""
    return {name: value for name, value in model.items() if callable(value)}
