"""Train a model and write its run folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytorch_lightning as pl
import yaml
from pytorch_lightning.loggers import Logger

from hist2st_pyg.models.card import summary_facts
from hist2st_pyg.models.training_sections import plain_sections
from hist2st_pyg.nn.vision import encoder_origin
from hist2st_pyg.section import Section
from hist2st_pyg.training.checks import check_config
from hist2st_pyg.training.config import TrainConfig, config_dict
from hist2st_pyg.training.fitting import fit
from hist2st_pyg.training.folder import MODEL, OF_LOGGERS, check_overwritable, clear_run, new_folder, run_folder
from hist2st_pyg.training.loggers import open_loggers
from hist2st_pyg.training.pictures import draw_training
from hist2st_pyg.training.preparation import make_datamodule, make_model
from hist2st_pyg.training.processes import is_first, rank
from hist2st_pyg.training.resume import CONFIG, SUMMARY, check_resumable, is_finished, last_checkpoint, repair_folder
from hist2st_pyg.training.tracking import log_data, log_training
from hist2st_pyg.training.trust import gene_trust
from hist2st_pyg.utils.files import write_json, write_text
from hist2st_pyg.utils.warn_on_error import warn_on_error

logger = logging.getLogger(__name__)


def train(
    config: TrainConfig, sections: Sequence[Section] | None = None, loggers: Sequence[Logger] | None = None
) -> Path:
    """Train a model and write its run folder.

    The folder has ``config.yaml`` (every value), ``metrics.csv`` (losses by part and validation PCC of each epoch),
    ``last.ckpt``, ``model/`` (of the epoch with the best validation PCC, or of the last epoch without validation),
    ``summary.json``, ``figures/`` and, unless it is off, ``wandb/``. A closed-form model has neither metrics nor
    checkpoint.

    Args:
        config: The configuration; see :func:`~hist2st_pyg.training.presets.preset_config`.
        sections: The data set's sections, if loaded; None reads them as configured in ``config.data``.
        loggers: Open loggers to write to, which stay open; None opens and closes those of the configuration.

    Returns:
        The run folder.

    Without an ``output`` the run gets a new folder. With ``resume``, an interrupted run continues from the end of its
    last epoch, and its result equals that of an uninterrupted run bit for bit on the same machine (on a GPU if its sums
    are deterministic); a finished run does not change. With ``overwrite``, the new run replaces the one in the folder
    after its data and model are loaded.

    The configuration is checked before a file is read, and a run that fails to start leaves no folder. The model and
    the summary are written before drawing and uploading, whose errors are only warnings.

    Raises:
        BlockingIOError: If another process trains in the run folder.
        FileExistsError: If the run folder has a run and neither ``resume`` nor ``overwrite`` is set, or ``overwrite``
            is set and it has other files.
        ValueError: If the configuration does not fit the data, or the run that it resumes.

    >>> import tempfile
    >>> from hist2st_pyg.training.presets import preset_config
    >>> folder = tempfile.mkdtemp()
    >>> data = {"name": "synthetic", "options": {"spots": 16}, "train": ["A1"], "n_genes": 5, "patch_size": 16}
    >>> config = preset_config("small", data, {"name": "ridge"}, output=f"{folder}/run", wandb="off")
    >>> sorted(path.name for path in train(config).glob("[!.]*"))
    ['config.yaml', 'figures', 'model', 'summary.json']
    """
    config = replace(
        config, data=config.data.with_absolute_paths()
    )  # so that config.yaml is valid in any working directory
    started, new = time.perf_counter(), config.output is None
    if not new and is_finished(config):
        return config.folder
    check_config(config)
    of_loggers = () if loggers is None else OF_LOGGERS  # files of loggers that the caller opened
    if config.overwrite and is_first():
        check_overwritable(config.folder, of_loggers)
    # Each process draws its own dropout and augmentations; DDP copies the first process's weights.
    pl.seed_everything(config.seed + rank(), workers=True, verbose=False)
    with ExitStack() as stack:
        writes = is_first()
        config = replace(config, output=str(new_folder(config.model))) if new else config
        output = config.folder
        if writes:
            stack.enter_context(run_folder(output, new))
        if is_finished(config):  # by another process, before this one got the lock
            return output
        datamodule = make_datamodule(config, sections)
        model = make_model(config, datamodule)
        datamodule.setup("fit")
        if writes:
            repair_folder(output, config.resume)
        if (last := last_checkpoint(output, config.resume)) is not None:
            check_resumable(last, model, config.training.epochs)
        if writes and config.overwrite:  # the data and the model are loaded
            clear_run(output, of_loggers)
        opened = list(loggers) if loggers is not None else stack.enter_context(open_loggers(config, output))
        plain = config_dict(replace(config, overwrite=False))  # training again with this file must not replace the run
        if writes:
            write_text(output / CONFIG, yaml.safe_dump(plain, sort_keys=False))
        log_data(opened, datamodule)
        fit_started = time.perf_counter()
        result = fit(config, model, datamodule, opened)
        if not writes:
            return output
        fit_ended = time.perf_counter()
        summary = {
            "chosen_epoch": result.chosen_epoch,
            "val_pcc": result.val_pcc,
            "epochs": result.epochs,
            "steps": result.steps,
            "seconds": {"prepare": fit_started - started, "fit": fit_ended - fit_started},
            "parameters": sum(p.numel() for p in model.parameters()),
            # The source of the vision stage's initial weights, if pretrained.
            "encoder_weights": encoder_origin(model.vision_stages),
            "config": plain,
            "sections": plain_sections(model.training_sections),
        }
        with warn_on_error(logger, "The genes' validation scores could not be computed"):
            result.model.gene_trust = gene_trust(result.model, datamodule)
        result.model.save_pretrained(output / MODEL, model_card_kwargs=summary_facts(summary))
        write_json(output / SUMMARY, summary)
        # The run is complete; errors in drawing and uploading do not affect it.
        pictures = draw_training(output, result.model, datamodule)
        log_training(opened, output, summary, pictures)
    return output
