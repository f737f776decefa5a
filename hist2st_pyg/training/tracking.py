"""Log a training run to wandb."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_args

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from hist2st_pyg.training.config import TrainConfig, WandbMode, config_dict
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.json_files import read_json
from hist2st_pyg.utils.progress import verbose
from hist2st_pyg.utils.resolver import check_choice
from hist2st_pyg.utils.warn_on_error import warn_on_error

logger = logging.getLogger(__name__)
CONNECT_SECONDS = 30
"""Timeout of wandb in seconds."""
RUN_FILE = "wandb.json"
"""The file with the id of the wandb run, which a resumed training continues."""
PROJECT = "hist2st_pyg"


def wandb_mode(wished: str) -> str:
    """Resolve the mode of wandb; ``"auto"`` follows ``WANDB_MODE`` and ``WANDB_DISABLED``.

    Returns:
        ``"auto"``, ``"online"``, ``"offline"`` or ``"disabled"``.

    Raises:
        ValueError: If there is no such mode.
    """
    check_choice(get_args(WandbMode), wished, "wandb")
    mode = wished
    if mode == "auto":
        if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "y", "on"):
            return "disabled"
        set_mode = {"dryrun": "offline"}.get(set_mode := os.environ.get("WANDB_MODE", ""), set_mode)
        return set_mode if set_mode in ("offline", "disabled") else mode
    return "disabled" if mode == "off" else mode


def run_name(output: Path) -> str:
    """Name a run by its folder, with the parent folder if the folder's name is not specific."""
    return f"{output.parent.name}_{output.name}" if output.name.startswith("version_") else output.name


@contextmanager
def open_wandb(config: TrainConfig, output: Path, mode: str) -> Iterator[list[Logger]]:
    """Open a wandb run and close it at the end; without a key or a connection, ``"auto"`` runs offline.

    A run that raises is closed as failed, so that the next run of the process does not write into it. Errors of wandb
    are logged as warnings, and training continues; only ``"online"`` raises if wandb cannot be reached.

    Raises:
        ConnectionError: If wandb is ``"online"`` and cannot be reached.
    """
    runs: list[Logger] = []
    with warn_on_error(logger, "Training continues without wandb") if mode != "online" else nullcontext():
        runs.append(_connect(config, output, mode))
    try:
        yield runs
    except BaseException:
        _finish(1)
        raise
    _finish(0)


def _finish(status: int) -> None:
    """Close the wandb run, if there is one."""
    import wandb

    with warn_on_error(logger, "The wandb run was not closed"):
        wandb.finish(exit_code=status)


class _WandbLogger(WandbLogger):
    """Lightning's wandb logger, which logs a warning and stops sending after the first error in training."""

    failed = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        del self._wandb_init["anonymous"]  # deprecated in wandb

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send the metrics of a step."""
        if not self.failed:
            self.failed = True
            with warn_on_error(logger, "wandb receives no further metrics"):
                super().log_metrics(metrics, step)
                self.failed = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send the remaining metrics."""
        with warn_on_error(logger, "wandb did not receive the end of the training"):
            super().finalize(status)


def _connect(config: TrainConfig, output: Path, mode: str) -> WandbLogger:
    import wandb

    if mode == "offline":
        return _start(config, output, online=False)
    try:
        # With a key, this verifies it at the server.
        return _start(config, output, online=mode == "online" or wandb.login(prompt=False))
    except (wandb.Error, OSError) as error:
        if mode == "online":
            raise ConnectionError(f"wandb cannot be reached: {error}. Set wandb=offline.") from error
        logger.warning("wandb cannot be reached (%s); the run is kept offline in %s.", error, output / "wandb")
        return _start(config, output, online=False)


def _start(config: TrainConfig, output: Path, online: bool) -> WandbLogger:
    """Start a wandb run, or continue the one of the run folder.

    Precedence: configuration, the run's former value, wandb's environment variable, default. The variables are read
    here, because wandb reads them once per process.
    """
    import wandb

    before: dict[str, Any] = read_json(output / RUN_FILE) if config.resume and (output / RUN_FILE).is_file() else {}
    output.mkdir(parents=True, exist_ok=True)  # wandb looks for a git repository there
    variable = os.environ.get
    project = config.project or before.get("project") or variable("WANDB_PROJECT") or PROJECT
    tags = config.tags or [tag.strip() for tag in variable("WANDB_TAGS", "").split(",") if tag.strip()]
    # Silence wandb's messages except for the URL of an online run.
    calm = {} if verbose() else {"quiet": True} if online else {"silent": True}
    run = _WandbLogger(
        project=project,
        entity=config.entity or before.get("entity") or variable("WANDB_ENTITY"),
        id=before.get("id"),
        resume="allow" if online and before else None,
        group=config.group or variable("WANDB_RUN_GROUP"),
        job_type=config.job_type or variable("WANDB_JOB_TYPE"),
        tags=tags or None,
        notes=config.notes or variable("WANDB_NOTES"),
        save_dir=output.resolve(),  # wandb's own process keeps its initial working folder
        name=config.run_name or variable("WANDB_NAME") or run_name(output),
        # Lightning's ``offline`` sets an environment variable, which wandb has already read.
        mode="online" if online else "offline",
        config=config_dict(config),
        settings=wandb.Settings(init_timeout=CONNECT_SECONDS, **calm),
    )
    started = run.experiment  # connects to wandb
    write_json(output / RUN_FILE, {"id": started.id, "project": project, "entity": started.entity or None})
    if not online:
        again = " --append" if before else ""
        folder = Path(started.dir).parent
        logger.info("wandb is offline; `wandb sync%s %s` uploads the run.", again, _short(folder))
    return run


def _short(path: Path) -> Path:
    """A path relative to the working folder, if it is below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def log_data(loggers: Sequence[Logger], datamodule: SectionDataModule) -> None:
    """Add the gene panel and the sections of each part to the wandb run; warn if a sweep will have no metric."""
    if "WANDB_SWEEP_ID" in os.environ and not datamodule.validates:
        logger.warning("There is no validation, so this sweep has no val/pcc; set data.val or data.val_share=0.2.")
    sections = {part: [section.name for section in of] for part, of in datamodule.sections.items()}
    for run in wandb_runs(loggers):
        with warn_on_error(logger, "wandb did not receive the panel and the sections"):
            run.experiment.config.update(
                {"genes": list(datamodule.preprocessing.genes), "sections": sections}, allow_val_change=True
            )


def log_training(loggers: Sequence[Logger], output: Path, summary: dict[str, Any], pictures: dict[str, Path]) -> None:
    """Add the chosen epoch, the pictures and the model to the wandb run, if there is one; errors are warnings.

    ``val/pcc`` of the summary, which a sweep compares, is set to that of the chosen epoch.
    """
    for run in wandb_runs(loggers):
        import wandb

        values = {key: summary[key] for key in ("chosen_epoch", "val_pcc", "parameters")}
        if summary["val_pcc"] is not None:
            values["val/pcc"] = summary["val_pcc"]
        with warn_on_error(logger, "wandb did not receive the summary"):
            run.experiment.summary.update(values)
        for name, path in pictures.items():
            with warn_on_error(logger, f"wandb did not receive the picture {path}"):
                run.log_image(name, [str(path)])
        with warn_on_error(logger, f"wandb did not receive the model in {output / 'model'}"):
            artifact = wandb.Artifact(f"model-{run.experiment.id}", type="model")
            for path in sorted((output / "model").iterdir()):
                artifact.add_file(str(path))
            run.experiment.log_artifact(artifact)


def wandb_runs(loggers: Sequence[Logger]) -> list[WandbLogger]:
    """Return the wandb loggers."""
    return [run for run in loggers if isinstance(run, WandbLogger)]
