"""How a model comes by its weights: by gradient steps under Lightning, or at once."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import Logger

from hist2st_pyg.data.datamodule import SectionDataModule
from hist2st_pyg.models import ExpressionModel, FittedModel, load_model
from hist2st_pyg.models.pretrained import describe, read_checkpoint
from hist2st_pyg.tensors import read_tensors
from hist2st_pyg.training.config import TrainConfig
from hist2st_pyg.training.loggers import join_earlier, keep_earlier
from hist2st_pyg.training.task import ExpressionTask, validation_pcc

LAST = "last.ckpt"


@dataclass(frozen=True)
class Fit:
    """What a fit gave.

    Args:
        model: The chosen model.
        chosen_epoch: Its epoch; None where the fit has none.
        val_pcc: Its validation PCC; None where nothing validates.
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
        config: The configuration; with ``resume`` the run folder's last checkpoint is gone on with.
        model: The model.
        datamodule: The data.
        loggers: Where losses and validation PCC go.
    """
    if isinstance(model, FittedModel):
        return _at_once(model, datamodule)
    return _by_gradient(config, model, datamodule, loggers)


def _at_once(model: FittedModel, datamodule: SectionDataModule) -> Fit:
    val = datamodule.validation()
    model.fit(datamodule.data("train"), val)
    return Fit(model.eval(), None, validation_pcc(model, val) if val else None)


def _by_gradient(
    config: TrainConfig, model: ExpressionModel, datamodule: SectionDataModule, loggers: list[Logger]
) -> Fit:
    output = Path(config.output)
    resume = _earlier_checkpoint(config)
    earlier = keep_earlier(output) if resume is not None else None
    task = ExpressionTask(model, config.training)
    best = _checkpoints(output, datamodule.validates)
    callbacks = [best, *_early_stopping(config, datamodule.validates)]
    trainer = _trainer(config, callbacks, loggers, datamodule.validates)
    with warnings.catch_warnings():
        # The run folder is not empty: its configuration is there from the start.
        warnings.filterwarnings("ignore", "(Checkpoint|Experiment logs) directory")
        trainer.fit(task, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    if earlier is not None:
        join_earlier(earlier)
    _check_one_epoch(config, trainer)
    if not datamodule.validates:
        return Fit(model, trainer.current_epoch - 1, None, trainer.current_epoch, trainer.global_step)
    return Fit(
        load_model(best.best_model_path, **_custom(config.model)),
        _epoch_of(best.best_model_path),
        float(best.best_model_score) if best.best_model_score is not None else None,
        trainer.current_epoch,
        trainer.global_step,
    )


def _check_one_epoch(config: TrainConfig, trainer: pl.Trainer) -> None:
    """Refuse what the time limit left untrained; Lightning counts an epoch that it cuts short."""
    steps, epoch = trainer.global_step, trainer.num_training_batches
    if config.training.max_minutes is not None and steps < epoch:
        raise ValueError(
            f"training.max_minutes={config.training.max_minutes:g} ended training after {steps} of the {epoch:g} steps "
            "of the first epoch, so no model is saved; give it more time."
        )


def _checkpoints(output: Path, validates: bool) -> ModelCheckpoint:
    """The best epoch and the last; without validation there is no best, and the last is kept once."""
    kept: dict[str, Any] = (
        {"filename": "best", "monitor": "val/pcc", "mode": "max", "save_last": True}
        if validates
        else {"filename": Path(LAST).stem, "enable_version_counter": False}
    )
    checkpoints = ModelCheckpoint(dirpath=output, **kept)
    checkpoints.CHECKPOINT_NAME_LAST = Path(LAST).stem
    return checkpoints


def _early_stopping(config: TrainConfig, validates: bool) -> list[Callback]:
    patience = config.training.patience
    if patience is None or not validates:
        return []
    return [EarlyStopping("val/pcc", patience=patience, mode="max")]


def _trainer(config: TrainConfig, callbacks: list[Callback], loggers: list[Logger], validates: bool) -> pl.Trainer:
    bar = shows_progress()
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,  # type: ignore[arg-type]
        max_epochs=config.training.epochs,
        max_time=timedelta(minutes=config.training.max_minutes) if config.training.max_minutes else None,
        gradient_clip_val=config.training.clip,
        # Named, because Lightning takes another bar where rich happens to be installed.
        callbacks=[*callbacks, TQDMProgressBar() if bar else _Lines()],
        logger=loggers,
        log_every_n_steps=1,
        enable_model_summary=False,
        enable_progress_bar=bar,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validates else 0,
        default_root_dir=config.output,
    )


def shows_progress() -> bool:
    """Whether a progress bar can be drawn: in a terminal or a notebook, not in a log file."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class _Lines(Callback):
    """Where no progress bar can be drawn, a line now and then."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epochs, epoch = int(trainer.max_epochs or 0), trainer.current_epoch + 1
        if epoch in (1, epochs) or epoch % max(1, epochs // 10) == 0:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            shown = [f"{name} {values[name]:.3f}" for name in ("train/loss", "val/pcc") if name in values]
            print(f"epoch {epoch}/{epochs}: {', '.join(shown)}", file=sys.stderr, flush=True)


def check_resumable(config: TrainConfig, model: ExpressionModel) -> None:
    """Refuse to go on with a run of another model, panel or sections: the weights would be named wrongly."""
    checkpoint = _earlier_checkpoint(config)
    if checkpoint is None:
        return
    description, _ = read_checkpoint(checkpoint)
    now: dict[str, Any] = json.loads(json.dumps(describe(model)))
    before: dict[str, Any] = json.loads(json.dumps(description))
    if different := [name for name in now if now[name] != before.get(name)]:
        raise ValueError(
            f"{checkpoint} cannot be gone on with: its {different[0]} differs from this configuration's. Give the same "
            "model and data, or another output."
        )


def _earlier_checkpoint(config: TrainConfig) -> Path | None:
    """The checkpoint to go on from, where there is one and it is asked for."""
    last = Path(config.output) / LAST
    return last if config.resume and last.exists() else None


def _custom(model: dict[str, Any]) -> dict[str, Any]:
    """The classes and factories among a model's arguments, which a file cannot hold."""
    return {name: value for name, value in model.items() if callable(value)}


def _epoch_of(checkpoint: str) -> int:
    return int(read_tensors(checkpoint)["epoch"])
