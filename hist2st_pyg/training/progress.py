"""Show the progress of training: one bar over all epochs, or occasional lines."""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar
from pytorch_lightning.utilities import rank_zero_only

from hist2st_pyg.utils.progress import quiet, tqdm

SHOWN_METRICS = ("train/loss", "val/pcc")


def shows_progress() -> bool:
    """Whether to draw a progress bar: in a terminal or a notebook, not in a log file."""
    return not quiet() and (sys.stderr.isatty() or "ipykernel" in sys.modules)


def _values(trainer: pl.Trainer) -> dict[str, str]:
    metrics = trainer.callback_metrics
    return {name: f"{float(metrics[name]):.3f}" for name in SHOWN_METRICS if name in metrics}


class TrainingBar(ProgressBar):
    """One bar over the batches of all epochs, with the remaining time."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._enabled = True

    def disable(self) -> None:
        """Hide the bar; Lightning calls this in all processes except the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar, in a resumed run at the finished batches."""
        batches = int(trainer.num_training_batches)
        total, done = (batches * epochs for epochs in (int(trainer.max_epochs or 0), trainer.current_epoch))
        self._bar = tqdm(total=total, initial=done, unit="batch", disable=not self._enabled)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch."""
        self._bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        """Advance the bar by one batch."""
        self._bar.set_postfix(_values(trainer), refresh=False)
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the metrics of the epoch."""
        self._bar.set_postfix(_values(trainer))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar, also after an error."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class TrainingLines(Callback):
    """Prints occasional lines if no bar can be drawn."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the first, the last and each tenth epoch."""
        epochs, epoch = int(trainer.max_epochs or 0), trainer.current_epoch + 1
        if not quiet() and (epoch in (1, epochs) or epoch % max(1, epochs // 10) == 0):
            shown = [f"{name} {value}" for name, value in _values(trainer).items()]
            print(f"epoch {epoch}/{epochs}: {', '.join(shown)}", file=sys.stderr, flush=True)
