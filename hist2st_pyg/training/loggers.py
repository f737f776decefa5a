"""Where a run is written to: Lightning's CSV logger and wandb's."""

from __future__ import annotations

import csv
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from hist2st_pyg.choices import choose
from hist2st_pyg.files import atomic_path
from hist2st_pyg.training.config import TrainConfig, WandbMode, config_dict
from hist2st_pyg.training.processes import is_first

logger = logging.getLogger(__name__)
CONNECT = 30
"""Seconds in which wandb has to answer."""


@contextmanager
def open_loggers(config: TrainConfig, output: Path) -> Iterator[list[Logger]]:
    """The CSV logger, and wandb's unless it is disabled; without a key or a connection ``"auto"`` runs offline.

    wandb's run is closed at the end; one that breaks off is closed as failed, so that the next run of the process does
    not write into it. Of several processes the first alone has one.
    """
    loggers: list[Logger] = [CSVLogger(output, name="", version="")]
    mode = choose({mode: mode for mode in get_args(WandbMode)}, config.wandb, "wandb")
    if mode == "auto" and (wished := os.environ.get("WANDB_MODE")) in ("offline", "disabled"):
        mode = wished
    if mode in ("disabled", "off") or not is_first():
        yield loggers
        return
    import wandb

    loggers.append(_wandb_logger(config, output, mode))
    try:
        yield loggers
    except BaseException:
        wandb.finish(exit_code=1)
        raise
    wandb.finish()


def _wandb_logger(config: TrainConfig, output: Path, mode: str) -> WandbLogger:
    import wandb

    def start(mode: Literal["offline", "online"]) -> WandbLogger:
        run = WandbLogger(
            project=config.project,
            group=config.group,
            job_type=config.job_type,
            save_dir=output.resolve(),  # wandb's own process keeps the folder it was started in
            name=config.run_name or output.name,
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
    except wandb.Error as error:
        if mode == "online":
            raise ConnectionError(f"wandb cannot be reached: {error}. Take wandb=offline.") from error
        logger.warning("wandb cannot be reached (%s); the run is kept offline in %s.", error, output / "wandb")
        return start("offline")


def log_training(loggers: Sequence[Logger], output: Path, summary: dict[str, Any], pictures: dict[str, Path]) -> None:
    """Add the chosen epoch, the pictures and the model to wandb's run, where there is one."""
    for run in wandb_runs(loggers):
        import wandb

        run.experiment.summary.update({key: summary[key] for key in ("chosen_epoch", "val_pcc", "parameters")})
        for name, path in pictures.items():
            run.log_image(name, [str(path)])
        artifact = wandb.Artifact(f"model-{run.experiment.id}", type="model")
        artifact.add_dir(str(output / "model"))
        run.experiment.log_artifact(artifact)


def wandb_runs(loggers: Sequence[Logger]) -> list[WandbLogger]:
    """Those of the loggers that are wandb's."""
    return [run for run in loggers if isinstance(run, WandbLogger)]


def keep_earlier(output: Path) -> Path | None:
    """Put the metrics of the run that is gone on with aside: Lightning's CSV logger starts its file anew."""
    metrics, earlier = output / "metrics.csv", output / "metrics.earlier.csv"
    if earlier.exists():  # a resumed run broke off too
        join_earlier(earlier)
    if not metrics.exists():
        return None
    return metrics.replace(earlier)


def join_earlier(earlier: Path) -> None:
    """Join the earlier rows and the new ones in ``metrics.csv``; what was done again counts in its new form."""
    metrics = earlier.with_name("metrics.csv")
    parts: list[list[dict[str, str]]] = []
    for path in (earlier, metrics):
        with path.open(newline="", encoding="utf-8") if path.exists() else io.StringIO() as file:
            parts.append(list(csv.DictReader(file)))
    first = min((int(row["epoch"]) for row in parts[1]), default=sys.maxsize)
    rows = [row for row in parts[0] if int(row["epoch"]) < first] + parts[1]
    with atomic_path(metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    earlier.unlink()
