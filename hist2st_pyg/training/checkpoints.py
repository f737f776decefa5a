"""Checkpoints of a run at the end of each epoch, with the complete state that the next epoch depends on."""

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
    """Save the last epoch in ``last.ckpt``, and the epoch with the best validation PCC also in ``best.ckpt``.

    Checkpoints are written only at the end of an epoch, after its validation: a run that is killed within an epoch
    repeats that epoch, with the same random numbers. Lightning's ``ModelCheckpoint`` saves the last epoch only if it is
    the best (2.6), saves no random states, and loses the best epoch of a folder that was moved.

    ``metrics.csv`` is written first and ``best.ckpt`` last, as a link to ``last.ckpt``. After a kill between them,
    :func:`link_best` and the repeated epoch write the missing files.

    Args:
        folder: The run folder.
        validates: Whether there is a validation PCC; without it there is no best epoch.
    """

    def __init__(self, folder: Path, validates: bool) -> None:
        self.folder, self.validates = folder, validates
        self.epochs = 0
        """Number of finished epochs."""
        self.best_epoch: int | None = None
        self.best_score: float | None = None
        self._random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of finished epochs and the best epoch."""
        return {"epochs": self.epochs, "best_epoch": self.best_epoch, "best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of finished epochs and the best epoch."""
        self.epochs = state_dict["epochs"]
        self.best_epoch, self.best_score = state_dict["best_epoch"], state_dict["best_score"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random states of each process."""
        checkpoint[RANDOM] = gather(random_state(pl_module.device))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load the metrics, and store the random state until training starts, because setup draws random numbers."""
        states = checkpoint[RANDOM]
        if len(states) != trainer.world_size:
            raise ValueError(
                f"{self.folder / LAST} was written by {len(states)} processes, now there are {trainer.world_size}; set "
                "the same number of devices, or another output."
            )
        self._random = states[trainer.global_rank]
        for logger in _metrics(trainer):
            logger.restore_rows(checkpoint["epoch"] + 1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once if training had stopped early; Lightning would train another epoch."""
        reasons = {callback.stopping_reason for callback in trainer.early_stopping_callbacks}
        if reasons - {EarlyStoppingReason.NOT_STOPPED}:
            trainer.should_stop = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the random state of the end of the last epoch."""
        if self._random is not None:
            set_random_state(self._random, pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the metrics and the checkpoint of the epoch."""
        epoch = trainer.current_epoch
        for name, value in pl_module.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise ValueError(
                    f"The weight {name} is not finite at the end of epoch {epoch}, so no model is saved; try a lower "
                    f"training.lr, or set training.gradient_clip_val."
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
    """Write checkpoints to a temporary file in the same folder and rename it, so that a failure keeps the former one.

    Lightning uses the system's temporary folder, from which it copies across file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, flushed to disk before it is renamed.

        Raises:
            OSError: If it cannot be written.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's error for a full disk names only the byte
                if not isinstance(error.__context__, OSError):
                    raise
                raise OSError(
                    f"{path} cannot be written ({error.__context__}); the former checkpoint is kept."
                ) from error
            file.flush()
            os.fsync(file.fileno())


def _metrics(trainer: pl.Trainer) -> list[MetricsLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsLogger)]


def link_best(folder: Path) -> None:
    """Link ``best.ckpt`` to ``last.ckpt``, or copy it if the file system has no links."""
    with atomic_path(folder / BEST) as temporary:
        temporary.unlink()
        try:
            os.link(folder / LAST, temporary)
        except OSError:
            shutil.copyfile(folder / LAST, temporary)


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the global random generators, as tensors and plain values.

    Order and windows depend only on the seed and the epoch (``SectionDataModule.train_dataloader``).

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
    """Restore the output of :func:`random_state`; CUDA's state only if it was saved and the device is a GPU."""
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    random.setstate(state["python"])
