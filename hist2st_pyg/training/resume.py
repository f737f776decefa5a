"""Resume a run from the end of its last epoch, if it is the same run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from hist2st_pyg.models import ExpressionModel
from hist2st_pyg.models.pretrained import describe, read_checkpoint
from hist2st_pyg.training.checkpoints import BEST, LAST, RANDOM, RunCheckpoint, link_best
from hist2st_pyg.training.config import TrainConfig, config_dict
from hist2st_pyg.utils.files import read_yaml
from hist2st_pyg.utils.safe_load import read_tensors
from hist2st_pyg.utils.staging import remove_unfinished

logger = logging.getLogger(__name__)
CONFIG, SUMMARY = "config.yaml", "summary.json"

_NOT_THE_RUN = {
    "output", "resume", "overwrite", "preset", "wandb", "project", "group", "job_type", "run_name", "entity", "tags",
    "notes", "accelerator", "devices", "strategy", "num_workers", "memory_gb", "data.root", "data.cache",
}  # fmt: skip
"""Keys that a resumed run may change: its place, its machine and its logging."""


class RunExistsError(FileExistsError):
    """A folder holds a run, and the configuration neither resumes nor replaces it.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(self.told(folder, "choose another output", "resume=True", "overwrite=True"))
        self.folder = folder

    @staticmethod
    def told(folder: Path, another: str, resume: str, overwrite: str) -> str:
        """The message, with the names of the options that help."""
        return f"{folder} holds a run; {another}, {resume} to resume it, or {overwrite} to replace it."


def is_finished(config: TrainConfig) -> bool:
    """Whether the run of a configuration is in its folder, with nothing left to do; a run has ended with its summary.

    Raises:
        RunExistsError: If the folder holds a run, and the configuration neither resumes nor replaces it.
        ValueError: If the folder holds another run.
    """
    output = config.folder
    if config.overwrite or not any((output / name).exists() for name in (LAST, SUMMARY)):
        return False
    if not config.resume:
        raise RunExistsError(output)
    if not (output / CONFIG).is_file():
        raise FileNotFoundError(
            f"{output} holds a run without its {CONFIG}, which says whether it is the same run; choose another output."
        )
    _check_same(read_yaml(output / CONFIG), config, f"{output / CONFIG}")
    if not (output / SUMMARY).is_file():
        return False
    summary = read_yaml(output / SUMMARY)  # JSON is YAML
    if not isinstance(summary.get("config"), dict):
        raise ValueError(f"{output / SUMMARY} is not the summary of a run: it has no config. Choose another output.")
    if _differences(summary["config"], config):  # it shall train longer
        return False
    logger.info("The run in %s has ended; nothing is changed.", output)
    return True


def last_checkpoint(output: Path, resume: bool) -> Path | None:
    """The checkpoint to resume from, where there is one and ``resume`` asks for it."""
    last = output / LAST
    return last if resume and last.exists() else None


def mend_folder(output: Path, resume: bool) -> None:
    """Remove what a killed process left in a run folder, and make the ``best.ckpt`` that it did not come to make."""
    for folder in (output, output / "figures", output / "model"):
        remove_unfinished(folder)
    # Lightning writes this in the middle of an epoch, before SLURM queues the job again. A run that
    # resumes from the end of an epoch is the run as it would have been.
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
        ValueError: If it cannot, because its model, panel or sections are others, or its checkpoints are of another
            version or of two runs.
    """
    state, best = _state(last), last.with_name(BEST)
    now, before = (json.loads(json.dumps(value)) for value in (describe(model), read_checkpoint(last)[0]))
    if different := [name for name in now if now[name] != before.get(name)]:
        raise ValueError(
            f"{last} cannot be resumed: its {different[0]} differs from this configuration's. Give the same "
            "model and data, or another output."
        )
    if epochs < state["epochs"]:
        raise ValueError(f"{last} has {state['epochs']} epochs already; training.epochs={epochs}.")
    chosen = state["best_epoch"]
    if chosen is not None and (not best.is_file() or read_tensors(best)["epoch"] != chosen):
        raise ValueError(
            f"{best} is not of epoch {chosen}, the best so far by {LAST}: the two are of different runs or moments. "
            "Copy the whole folder of the run, or choose another output."
        )


def _state(last: Path) -> dict[str, Any]:
    """What a checkpoint says of the epochs so far."""
    checkpoint = read_tensors(last)
    if not isinstance(checkpoint, dict) or RANDOM not in checkpoint:
        raise ValueError(
            f"{last} does not hold the state of the random generators, so a resumed run would differ: another version "
            "or another program wrote it. Choose another output."
        )
    return checkpoint["callbacks"][RunCheckpoint.__qualname__]  # type: ignore[no-any-return]


def _check_same(before: dict[str, Any], config: TrainConfig, where: str) -> None:
    different = _differences(before, config)
    # A longer run is the same as far as the shorter goes, unless the learning rate looks ahead to the end.
    longer = {"training.max_minutes"} | ({"training.epochs"} if config.training.lr_scheduler != "cosine" else set())
    if others := sorted(different.keys() - longer):
        told = "; ".join(f"{name} is {different[name][0]!r} there and {different[name][1]!r} now" for name in others)
        raise ValueError(f"{where} is of another run: {told}. Give the same values, or another output.")


def _differences(before: dict[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """The values that a recorded configuration and another have for each key in which they differ."""
    old, new = (_flat(json.loads(json.dumps(values))) for values in (before, config_dict(config)))
    return {
        name: (old.get(name), new.get(name))
        for name in (old.keys() | new.keys()) - _NOT_THE_RUN
        if old.get(name) != new.get(name)
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
