"""Checkpoints of a run: the end of each epoch, with all that the next one depends on."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.plugins.io import TorchCheckpointIO

from hist2st_pyg.training.loggers import MetricsLogger
from hist2st_pyg.training.processes import gather
from hist2st_pyg.utils.files import atomic_path

LAST, BEST = "last.ckpt", "best.ckpt"
MONITOR = "val/pcc"
RANDOM = "random_states"


class RunCheckpoint(Checkpoint):
    """Keep the last epoch in ``last.ckpt``, and that with the best validation PCC in ``best.ckpt`` too.

    Checkpoints are written where an epoch has ended, after its validation, and nowhere else, so that the position in an
    epoch is always its end: a run that is killed within an epoch does that epoch again, with the same random numbers.
    Lightning's ``ModelCheckpoint`` writes its last epoch only where it is the best (2.6), keeps no random states, and
    forgets the best epoch of a folder that was moved.

    ``metrics.csv`` is written first and ``best.ckpt`` last, as a link to ``last.ckpt``: whatever is missing after a
    kill between them, :func:`link_best` and the repeated epoch make again.

    Args:
        folder: The run folder.
        validates: Whether there is a validation PCC; else there is no best epoch.
    """

    def __init__(self, folder: Path, validates: bool) -> None:
        self.folder, self.validates = folder, validates
        self.epochs = 0
        """Epochs that have ended."""
        self.best_epoch: int | None = None
        self.best_score: float | None = None
        self._random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The epochs that have ended, and the best of them."""
        return {"epochs": self.epochs, "best_epoch": self.best_epoch, "best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.epochs = state_dict["epochs"]
        self.best_epoch, self.best_score = state_dict["best_epoch"], state_dict["best_score"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random states, of each process."""
        checkpoint[RANDOM] = gather(random_state(pl_module.device))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the metrics so far and, until training starts, the random state: what comes before it draws too."""
        states = checkpoint[RANDOM]
        if len(states) != trainer.world_size:
            raise ValueError(
                f"{self.folder / LAST} is of {len(states)} processes, now there are {trainer.world_size}: give as many "
                "devices as before, or another output."
            )
        self._random = states[trainer.global_rank]
        for logger in _metrics(trainer):
            logger.go_on(checkpoint["epoch"] + 1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stay stopped where training was stopped early: Lightning restores that it was, and trains another epoch."""
        reasons = {callback.stopping_reason for callback in trainer.early_stopping_callbacks}
        if reasons - {EarlyStoppingReason.NOT_STOPPED}:
            trainer.should_stop = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw on from where the last epoch ended."""
        if self._random is not None:
            set_random_state(self._random, pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what has ended."""
        epoch = trainer.current_epoch
        for name, value in pl_module.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise ValueError(
                    f"The weight {name} is not finite at the end of epoch {epoch}, so no model is saved. A lower "
                    f"training.lr, or a training.gradient_clip_val, may help."
                )
        score = float(trainer.callback_metrics[MONITOR]) if self.validates else None
        better = score is not None and (self.best_score is None or score > self.best_score)
        if better:
            self.best_epoch, self.best_score = epoch, score
        self.epochs = epoch + 1
        for logger in _metrics(trainer):
            logger.write()
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        if better and trainer.is_global_zero:
            link_best(self.folder)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints beside their place and rename them, so that a kill or a full disk leaves the former one.

    Lightning's own way is through the system's temporary folder, and a copy where that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; it is on the disk when it takes its place.

        Raises:
            OSError: If it cannot be written.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch makes of a full disk says only at which byte
                if not isinstance(error.__context__, OSError):
                    raise
                raise OSError(f"{path} cannot be written ({error.__context__}); the former one stays.") from error
            file.flush()
            os.fsync(file.fileno())


def _metrics(trainer: pl.Trainer) -> list[MetricsLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsLogger)]


def link_best(folder: Path) -> None:
    """Make ``best.ckpt`` the same file as ``last.ckpt``, or a copy where the file system knows no links."""
    with atomic_path(folder / BEST) as temporary:
        temporary.unlink()
        try:
            os.link(folder / LAST, temporary)
        except OSError:
            shutil.copyfile(folder / LAST, temporary)


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of the global random generators, as tensors and plain values.

    Order and windows need none: the seed and the epoch decide them (``SectionDataModule.train_dataloader``).

    Args:
        device: The device of this process.
    """
    numpy: Any = np.random.get_state()  # noqa: NPY002  # a user's layer may draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [numpy[0], numpy[1].tolist(), *numpy[2:]],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set what :func:`random_state` gave; CUDA's only where there is one, and it was one."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    random.setstate(state["python"])
