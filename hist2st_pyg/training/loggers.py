"""Where a run is written to: ``metrics.csv``, and wandb (:mod:`~hist2st_pyg.training.tracking`)."""

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
    """``metrics.csv`` of a run folder: a row for each step and each validation.

    The file is written whole, at the end of each epoch and of training. Lightning's ``CSVLogger`` adds to its file as
    it goes, and starts a new one in a resumed run.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / METRICS
        self.rows: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """The file's."""
        return METRICS

    @property
    def version(self) -> str:
        """None: a run has one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        self.rows.append({**metrics, "step": step})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: ``config.yaml`` holds them."""

    def go_on(self, epochs: int) -> None:
        """Keep the rows of the epochs that have ended; what was done of the next one is done again.

        Raises:
            ValueError: If the file is not as it was written.
        """
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.rows = [dict(row) for row in rows if int(row["epoch"]) < epochs]
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path}, the metrics of the epochs so far, cannot be read: {error!r}. Copy the whole folder of "
                "the run, or choose another output."
            ) from error

    @rank_zero_only
    def write(self) -> None:
        """Write the file."""
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, sorted({name for row in self.rows for name in row}))
            writer.writeheader()
            writer.writerows(self.rows)

    def finalize(self, status: str) -> None:
        """Write what has been logged since the last epoch's end."""
        # There is none if training failed before it logged, or before it read the rows of the run that it resumes.
        if self.rows:
            self.write()


@contextmanager
def open_loggers(config: TrainConfig, output: Path) -> Iterator[list[Logger]]:
    """That of ``metrics.csv``, and wandb's unless it is off; of several processes the first alone has wandb's.

    Raises:
        ConnectionError: If wandb ``"online"`` is asked for and cannot be reached.
    """
    loggers: list[Logger] = [MetricsLogger(output)]
    mode = wandb_mode(config.wandb)
    if mode == "disabled" or not is_first():
        yield loggers
        return
    with open_wandb(config, output, mode) as runs:
        yield [*loggers, *runs]
