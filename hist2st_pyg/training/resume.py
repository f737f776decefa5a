"""Resume a run from the end of its last epoch, if the configuration is the same."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from hist2st_pyg.models import ExpressionModel
from hist2st_pyg.models.pretrained import describe, read_checkpoint
from hist2st_pyg.training.checkpoints import BEST, LAST, RANDOM, RunCheckpoint, link_best
from hist2st_pyg.training.config import TrainConfig, config_dict
from hist2st_pyg.utils.files import dotted, read_yaml
from hist2st_pyg.utils.safe_load import read_tensors
from hist2st_pyg.utils.staging import remove_unfinished

logger = logging.getLogger(__name__)
CONFIG, SUMMARY = "config.yaml", "summary.json"

_NOT_THE_RUN = {
    "output", "resume", "overwrite", "preset", "wandb", "project", "group", "job_type", "run_name", "entity", "tags",
    "notes", "accelerator", "devices", "strategy", "num_workers", "memory_gb", "data.root", "data.cache",
}  # fmt: skip
"""Keys that a resumed run may change: folder, hardware and logging."""


class RunExistsError(FileExistsError):
    """The folder has a run, and the configuration neither resumes nor replaces it.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(self.message(folder, "choose another output", "resume=True", "overwrite=True"))
        self.folder = folder

    @staticmethod
    def message(folder: Path, another: str, resume: str, overwrite: str) -> str:
        """Format the message with the names of the options."""
        return f"{folder} holds a run; {another}, {resume} to resume it, or {overwrite} to replace it."


def is_finished(config: TrainConfig) -> bool:
    """Whether the run of a configuration is finished, that is, its folder has a summary and needs no further epochs.

    Raises:
        RunExistsError: If the folder has a run, and the configuration neither resumes nor replaces it.
        ValueError: If the folder has a run of another configuration.
    """
    output = config.folder
    if config.overwrite or not any((output / name).exists() for name in (LAST, SUMMARY)):
        return False
    if not config.resume:
        raise RunExistsError(output)
    if not (output / CONFIG).is_file():
        raise FileNotFoundError(
            f"{output} holds a run without its {CONFIG}, so it cannot be compared with this run; choose another output."
        )
    now = config_dict(config)
    _check_same(read_yaml(output / CONFIG), now, f"{output / CONFIG}")
    if not (output / SUMMARY).is_file():
        return False
    summary = read_yaml(output / SUMMARY)  # JSON is YAML
    if not isinstance(summary.get("config"), dict):
        raise ValueError(f"{output / SUMMARY} is not the summary of a run: it has no config; choose another output.")
    if _differences(summary["config"], now):  # training continues to a larger number of epochs
        return False
    logger.info("The run in %s is finished; nothing to do.", output)
    return True


def last_checkpoint(output: Path, resume: bool) -> Path | None:
    """Return the checkpoint to resume from, if there is one and ``resume`` is set."""
    last = output / LAST
    return last if resume and last.exists() else None


def repair_folder(output: Path, resume: bool) -> None:
    """Remove temporary files of a killed process from a run folder, and write the missing ``best.ckpt``."""
    for folder in (output, output / "figures", output / "model"):
        remove_unfinished(folder)
    # Lightning writes this file within an epoch, before SLURM requeues the job. Runs resume only from the end of an
    # epoch, so that their results equal those of an uninterrupted run.
    for left in output.glob("hpc_ckpt_*.ckpt"):
        left.unlink()
    if (last := last_checkpoint(output, resume)) is not None:
        state = _state(last)
        if state["best_epoch"] is not None and state["best_epoch"] == state["epochs"] - 1:
            link_best(output)


def check_resumable(last: Path, model: ExpressionModel, epochs: int) -> None:
    """Check that a run can be resumed.

    Args:
        last: Its last checkpoint.
        model: The model of the configuration.
        epochs: Epochs of the configuration.

    Raises:
        ValueError: If its model, panel or sections differ, or its checkpoints are of another version or of two runs.
    """
    state, best = _state(last), last.with_name(BEST)
    now, before = (json.loads(json.dumps(value)) for value in (describe(model), read_checkpoint(last)[0]))
    if different := [name for name in now if now[name] != before.get(name)]:
        raise ValueError(
            f"{last} cannot be resumed: its {different[0]} differs from this configuration's; set the same "
            "model and data, or another output."
        )
    if epochs < state["epochs"]:
        raise ValueError(
            f"{last} already has {state['epochs']} epochs, more than training.epochs={epochs}; set more epochs."
        )
    chosen = state["best_epoch"]
    if chosen is not None and (not best.is_file() or read_tensors(best)["epoch"] != chosen):
        raise ValueError(
            f"{best} is not of epoch {chosen}, the best one according to {LAST}, so the files are of different runs or "
            "times; copy the whole run folder again, or choose another output."
        )


def _state(last: Path) -> dict[str, Any]:
    """Read the callback's state from a checkpoint."""
    checkpoint = read_tensors(last)
    if not isinstance(checkpoint, dict) or RANDOM not in checkpoint:
        raise ValueError(
            f"{last} lacks the state of the random generators, so a resumed run would differ; another version or "
            "program wrote it. Choose another output."
        )
    return checkpoint["callbacks"][RunCheckpoint.__qualname__]  # type: ignore[no-any-return]


def _check_same(before: dict[str, Any], now: dict[str, Any], where: str) -> None:
    different = _differences(before, now)
    # A longer run equals the shorter one up to its end, unless the schedule depends on the number of epochs.
    longer = {"training.max_minutes"} | ({"training.epochs"} if now["training"]["lr_scheduler"] != "cosine" else set())
    if others := sorted(different.keys() - longer):
        changes = "; ".join(f"{name} is {different[name][0]!r} there and {different[name][1]!r} now" for name in others)
        raise ValueError(f"{where} is of another run: {changes}. Set the same values, or another output.")


def _differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of each key in which a recorded configuration and a new one differ."""
    old, new = (dict(dotted(json.loads(json.dumps(values)))) for values in (before, now))
    return {
        name: (old.get(name), new.get(name))
        for name in (old.keys() | new.keys()) - _NOT_THE_RUN
        if old.get(name) != new.get(name)
    }
