"""The loggers of a run: ``metrics.csv``, and wandb (:mod:`~hist2st_pyg.training.tracking`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from hist2st_pyg.training.config import TrainConfig
from hist2st_pyg.training.processes import is_first
from hist2st_pyg.training.tracking import open_wandb, wandb_mode
from hist2st_pyg.utils.files import atomic_path

METRICS = "metrics.csv"


class MetricsLogger(Logger):
    """Writes ``metrics.csv`` in a run folder, with a row per step and per validation.

    The file is rewritten at the end of each epoch and of training. Lightning's ``CSVLogger`` appends to its file during
    an epoch, and starts a new file in a resumed run.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / METRICS
        self.rows: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """The name of the file."""
        return METRICS

    @property
    def version(self) -> str:
        """The version is empty, because a run has one file."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        self.rows.append({**metrics, "step": step})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because ``config.yaml`` has the hyperparameters."""

    def restore_rows(self, epochs: int) -> None:
        """Load the rows of the finished epochs; the interrupted epoch is repeated.

        Raises:
            ValueError: If the file is damaged.
        """
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.rows = [dict(row) for row in rows if int(row["epoch"]) < epochs]
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path}, the metrics of the finished epochs, cannot be read: {error!r}; copy the whole run "
                "folder again, or choose another output."
            ) from error

    @rank_zero_only
    def write(self) -> None:
        """Write the file."""
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, sorted({name for row in self.rows for name in row}))
            writer.writeheader()
            writer.writerows(self.rows)

    def finalize(self, status: str) -> None:
        """Write the rows logged since the end of the last epoch."""
        # Without rows, training failed before it logged, or before it loaded the rows of the run that it resumes.
        if self.rows:
            self.write()


@contextmanager
def open_loggers(config: TrainConfig, output: Path) -> Iterator[list[Logger]]:
    """Open the logger of ``metrics.csv``, and in the first process wandb's unless it is off.

    Raises:
        ConnectionError: If wandb is ``"online"`` and cannot be reached.
    """
    loggers: list[Logger] = [MetricsLogger(output)]
    mode = wandb_mode(config.wandb)
    if mode == "disabled" or not is_first():
        yield loggers
        return
    with open_wandb(config, output, mode) as runs:
        yield [*loggers, *runs]
