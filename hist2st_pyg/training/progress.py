"""How far training has come: one bar over all epochs, or a line now and then."""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar
from pytorch_lightning.utilities import rank_zero_only

from hist2st_pyg.utils.progress import quiet, tqdm

SHOWN = ("train/loss", "val/pcc")


def shows_progress() -> bool:
    """Whether a progress bar can be drawn and is wanted: in a terminal or a notebook, not in a log file."""
    return not quiet() and (sys.stderr.isatty() or "ipykernel" in sys.modules)


def _values(trainer: pl.Trainer) -> dict[str, str]:
    metrics = trainer.callback_metrics
    return {name: f"{float(metrics[name]):.3f}" for name in SHOWN if name in metrics}


class TrainingBar(ProgressBar):
    """One bar over the batches of all epochs, with the time that is left."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._enabled = True

    def disable(self) -> None:
        """Draw nothing, as Lightning asks of all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Draw again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, in a resumed run with what is done."""
        batches = int(trainer.num_training_batches)
        total, done = (batches * epochs for epochs in (int(trainer.max_epochs or 0), trainer.current_epoch))
        self._bar = tqdm(total=total, initial=done, unit="batch", disable=not self._enabled)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the epoch."""
        self._bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        """Go on by a batch."""
        self._bar.set_postfix(_values(trainer), refresh=False)
        self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the numbers of the epoch."""
        self._bar.set_postfix(_values(trainer))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close it, however training ended."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class TrainingLines(Callback):
    """Where no bar can be drawn, a line now and then."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the epoch: the first, the last and each tenth of them."""
        epochs, epoch = int(trainer.max_epochs or 0), trainer.current_epoch + 1
        if not quiet() and (epoch in (1, epochs) or epoch % max(1, epochs // 10) == 0):
            shown = [f"{name} {value}" for name, value in _values(trainer).items()]
            print(f"epoch {epoch}/{epochs}: {', '.join(shown)}", file=sys.stderr, flush=True)
