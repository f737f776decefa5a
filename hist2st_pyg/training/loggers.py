"""Where a run is written to: ``metrics.csv`` and wandb."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from hist2st_pyg.training.config import TrainConfig, WandbMode, config_dict
from hist2st_pyg.training.processes import is_first
from hist2st_pyg.utils.files import atomic_path
from hist2st_pyg.utils.only_warns import only_warns
from hist2st_pyg.utils.resolver import resolve

logger = logging.getLogger(__name__)
CONNECT = 30
"""Seconds in which wandb has to answer."""
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
        """Nothing: they are in ``config.yaml``."""

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
        # None where training did not come so far as to log, or to know the rows of the run it goes on with.
        if self.rows:
            self.write()


def wandb_mode(wished: str) -> str:
    """The mode of wandb that a configuration asks for; ``"auto"`` hears ``WANDB_MODE``.

    Raises:
        ValueError: If there is no such mode.
    """
    mode: str = resolve({mode: mode for mode in get_args(WandbMode)}, wished, "wandb")
    told = os.environ.get("WANDB_MODE")
    return told if mode == "auto" and told in ("offline", "disabled") else mode


def run_name(output: Path) -> str:
    """The name of a run by its folder, with the folder's parent where only that says what it is."""
    return f"{output.parent.name}_{output.name}" if output.name.startswith("version_") else output.name


@contextmanager
def open_loggers(config: TrainConfig, output: Path) -> Iterator[list[Logger]]:
    """That of ``metrics.csv``, and wandb's unless it is off; without a key or a connection ``"auto"`` runs offline.

    wandb's run is closed at the end; one that breaks off is closed as failed, so that the next run of the process does
    not write into it. Of several processes the first alone has one. Whatever fails of wandb is a warning and costs the
    training nothing, but for ``"online"`` that was asked for and cannot be had.

    Raises:
        ConnectionError: If ``"online"`` is asked for, and wandb cannot be reached.
    """
    loggers: list[Logger] = [MetricsLogger(output)]
    mode = wandb_mode(config.wandb)
    if mode in ("disabled", "off") or not is_first():
        yield loggers
        return
    with only_warns(logger, "wandb is left out") if mode != "online" else nullcontext():
        loggers.append(_wandb_logger(config, output, mode))
    try:
        yield loggers
    except BaseException:
        _finish(1)
        raise
    _finish(0)


def _finish(status: int) -> None:
    """Close wandb's run, where there is one."""
    import wandb

    with only_warns(logger, "wandb's run was not closed"):
        wandb.finish(exit_code=status)


class _WandbLogger(WandbLogger):
    """wandb's, whose errors in training are a warning; the first of them ends what is sent."""

    failed = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send a row."""
        if not self.failed:
            self.failed = True
            with only_warns(logger, "wandb gets no more metrics"):
                super().log_metrics(metrics, step)
                self.failed = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is left."""
        with only_warns(logger, "wandb got no end of the training"):
            super().finalize(status)


def _wandb_logger(config: TrainConfig, output: Path, mode: str) -> WandbLogger:
    import wandb

    def start(mode: Literal["offline", "online"]) -> WandbLogger:
        run = _WandbLogger(
            project=config.project,
            group=config.group,
            job_type=config.job_type,
            save_dir=output.resolve(),  # wandb's own process keeps the folder it was started in
            name=config.run_name or run_name(output),
            # Lightning's ``offline`` works through the environment, which wandb has read by now.
            mode=mode,
            config=config_dict(config),
            settings=wandb.Settings(init_timeout=CONNECT),
        )
        _ = run.experiment  # connects now
        return run

    if mode == "offline":
        return start("offline")
    try:
        # Where there is a key this asks the server whether it is right.
        return start("offline" if mode == "auto" and not wandb.login(prompt=False) else "online")
    except (wandb.Error, OSError) as error:
        if mode == "online":
            raise ConnectionError(f"wandb cannot be reached: {error}. Take wandb=offline.") from error
        logger.warning("wandb cannot be reached (%s); the run is kept offline in %s.", error, output / "wandb")
        return start("offline")


def log_training(loggers: Sequence[Logger], output: Path, summary: dict[str, Any], pictures: dict[str, Path]) -> None:
    """Add the chosen epoch, the pictures and the model to wandb's run, where there is one; errors are warnings."""
    for run in wandb_runs(loggers):
        import wandb

        with only_warns(logger, "wandb did not get the summary"):
            run.experiment.summary.update({key: summary[key] for key in ("chosen_epoch", "val_pcc", "parameters")})
        for name, path in pictures.items():
            with only_warns(logger, f"wandb did not get the picture {path}"):
                run.log_image(name, [str(path)])
        with only_warns(logger, f"wandb did not get the model in {output / 'model'}"):
            artifact = wandb.Artifact(f"model-{run.experiment.id}", type="model")
            artifact.add_dir(str(output / "model"))
            run.experiment.log_artifact(artifact)


def wandb_runs(loggers: Sequence[Logger]) -> list[WandbLogger]:
    """Those of the loggers that are wandb's."""
    return [run for run in loggers if isinstance(run, WandbLogger)]
