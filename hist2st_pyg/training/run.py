"""One training run: from a configuration to a run folder."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from hist2st_pyg.choices import choose
from hist2st_pyg.data.convert import Recipe, spot_pitch
from hist2st_pyg.data.datamodule import SectionDataModule
from hist2st_pyg.data.expression import gene_panel
from hist2st_pyg.datasets import load_sections
from hist2st_pyg.files import write_json, write_text
from hist2st_pyg.models import MODELS, ExpressionModel, load_model
from hist2st_pyg.models.pretrained import describe, read_checkpoint
from hist2st_pyg.section import Section
from hist2st_pyg.training.config import DataConfig, TrainConfig, config_dict
from hist2st_pyg.training.loggers import finish_wandb, join_earlier, keep_earlier, open_loggers
from hist2st_pyg.training.pictures import draw_training
from hist2st_pyg.training.task import ExpressionTask

LAST = "last.ckpt"


def train(config: TrainConfig, sections: Sequence[Section] | None = None) -> Path:
    """Train a model and leave everything about it in a run folder.

    The folder holds ``config.yaml`` (every value), ``metrics.csv`` (losses by part and validation PCC of each
    epoch), ``last.ckpt``, ``model/`` (of the epoch with the best validation PCC, or the last where nothing
    validates), ``summary.json``, ``figures/`` and, unless it is off, ``wandb/``.

    Args:
        config: The configuration; see :func:`~hist2st_pyg.training.config.preset_config`.
        sections: The data set's sections where they are already at hand; else they are read as ``config.data`` says.

    Returns:
        The run folder.

    Raises:
        FileExistsError: If the run folder holds a run and ``resume`` is not set.
        ValueError: If the configuration does not fit the data.
    """
    if config.training.epochs < 1:
        raise ValueError(f"training.epochs is at least 1, got {config.training.epochs}.")
    output = Path(config.output)
    if (output / LAST).exists() and not config.resume:
        raise FileExistsError(f"{output} holds a run; choose another output, or resume=True to go on with it.")
    started = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = make_datamodule(config, sections)
    datamodule.setup("fit")
    model = make_model(config, datamodule)
    last = output / LAST
    resume = last if config.resume and last.exists() else None
    if resume is not None:
        _check_resumable(resume, model)
    plain = config_dict(config)
    write_text(output / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
    task = ExpressionTask(model, config.training)
    validates = bool(datamodule.sections["val"]) or datamodule.val_share > 0
    best = _checkpoints(output, validates)
    with open_loggers(config, output) as loggers:
        fit_started = time.perf_counter()
        earlier = keep_earlier(output) if resume is not None else None
        trainer = _trainer(config, [best, *_early_stopping(config, validates)], loggers, validates)
        with warnings.catch_warnings():
            # The run folder is not empty: its configuration is there from the start.
            warnings.filterwarnings("ignore", "(Checkpoint|Experiment logs) directory")
            trainer.fit(task, datamodule=datamodule, ckpt_path=resume, weights_only=True)
        seconds = time.perf_counter() - fit_started
        if earlier is not None:
            join_earlier(earlier)
        chosen = load_model(best.best_model_path, **_custom(config.model)) if validates else model
        chosen.save_pretrained(output / "model")
        pictures = draw_training(output, chosen, datamodule)
        summary = {
            "chosen_epoch": _epoch_of(best.best_model_path) if validates else trainer.current_epoch - 1,
            "val_pcc": float(best.best_model_score) if validates and best.best_model_score is not None else None,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": {"prepare": fit_started - started, "fit": seconds},
            "parameters": sum(p.numel() for p in model.parameters()),
            "config": plain,
            "sections": model.training_sections,
        }
        write_json(output / "summary.json", summary)
        finish_wandb(loggers, output, summary, pictures)
    return output


def _checkpoints(output: Path, validates: bool) -> ModelCheckpoint:
    """The best epoch and the last; without validation there is no best, and the last is kept once."""
    kept: dict[str, Any] = (
        {"filename": "best", "monitor": "val/pcc", "mode": "max", "save_last": True}
        if validates
        else {"filename": Path(LAST).stem, "enable_version_counter": False}
    )
    checkpoints = ModelCheckpoint(dirpath=output, **kept)
    checkpoints.CHECKPOINT_NAME_LAST = Path(LAST).stem
    return checkpoints


def _trainer(config: TrainConfig, callbacks: list[Callback], loggers: list[Logger], validates: bool) -> pl.Trainer:
    bar = shows_progress()
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,  # type: ignore[arg-type]
        max_epochs=config.training.epochs,
        max_time=timedelta(minutes=config.training.max_minutes) if config.training.max_minutes else None,
        gradient_clip_val=config.training.clip,
        callbacks=callbacks if bar else [*callbacks, _Lines()],
        logger=loggers,
        log_every_n_steps=1,
        enable_model_summary=False,
        enable_progress_bar=bar,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validates else 0,
        default_root_dir=config.output,
    )


def make_datamodule(config: TrainConfig, sections: Sequence[Section] | None = None) -> SectionDataModule:
    """Read the sections, fit the panel on those of training, and wrap them.

    Raises:
        ValueError: If a named section is not there.
    """
    data = config.data
    train, val, test = _parts(data, sections)
    genes = gene_panel(data.panel, train, data.n_genes, data.name, data.root)
    resolutions = [s.um_per_pixel for s in train if s.um_per_pixel is not None]
    recipe = Recipe(
        genes=tuple(genes),
        patch_size=data.patch_size,
        patch_um=data.patch_um,
        scales=tuple(data.scales),
        k=data.k,
        max_distance=data.max_distance,
        graph_on=data.graph_on,
        total=data.total,
        um_per_pixel=sum(resolutions) / len(resolutions) if len(resolutions) == len(train) else None,
        pitch=sum(spot_pitch(section.pos) for section in train) / len(train),
    )
    return SectionDataModule(
        recipe,
        train,
        val,
        test,
        split=data.split,
        val_share=data.val_share,
        val_side=data.val_side,
        batch_size=config.training.batch_size,
        cache=data.cache,
        seed=config.seed,
    )


def _parts(data: DataConfig, sections: Sequence[Section] | None) -> list[list[Section]]:
    """The sections of training, validation and test; of those of test no image is opened, they are kept apart."""
    named = [*data.train, *data.val, *data.test] if data.train else None
    if sections is None:
        sections = load_sections(data.name, data.root, named, **data.options)
    by_name = {section.name: section for section in sections}
    # A misspelt test section would otherwise train with the rest.
    kept_out = [*data.val, *data.test]
    for name in named or kept_out:
        if name not in by_name:
            raise ValueError(f"There is no section {name!r}; there are {', '.join(by_name)}.")
    train = [by_name[name] for name in data.train] or [
        section for section in sections if section.name not in kept_out and section.image is not None
    ]
    return [train, [by_name[name] for name in data.val], [by_name[name] for name in data.test]]


def make_model(config: TrainConfig, datamodule: SectionDataModule) -> ExpressionModel:
    """Build the model for the data module's panel and patches, with the training sections' statistics."""
    recipe, options = datamodule.recipe, config.training
    arguments = dict(config.model)
    build = choose(MODELS, arguments.pop("name", "hist2st"), "model.name")
    shapes: dict[str, Any] = {"patch_size": recipe.patch_size}
    if build is MODELS["hist2st"]:
        shapes |= {"n_scales": len(recipe.scales), "views": options.views}
    elif options.views or len(recipe.scales) > 1:
        raise ValueError(
            f"model.name={config.model['name']!r} knows neither self-distillation nor several scales, got "
            f"views={options.views}, scales={list(recipe.scales)}."
        )
    model = build(len(recipe.genes), **{**arguments, **shapes})
    if options.normalise:
        mean, std = datamodule.pixel_statistics()
        model.pixel_mean.copy_(mean)
        model.pixel_std.copy_(std)
    if options.standardise:
        mean, std = datamodule.target_statistics()
        model.target_mean.copy_(mean)
        model.target_std.copy_(std)
    model.recipe = recipe
    model.training_sections = {
        part: [f"{section.patient}/{section.name}" for section in datamodule.sections[part]]
        for part in ("train", "val")
    }
    return model


def shows_progress() -> bool:
    """Whether a progress bar can be drawn: in a terminal or a notebook, not in a log file."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class _Lines(Callback):
    """Where no progress bar can be drawn, a line now and then."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epochs, epoch = int(trainer.max_epochs or 0), trainer.current_epoch + 1
        if epoch in (1, epochs) or epoch % max(1, epochs // 10) == 0:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            shown = [f"{name} {values[name]:.3f}" for name in ("train/loss", "val/pcc") if name in values]
            print(f"epoch {epoch}/{epochs}: {', '.join(shown)}", file=sys.stderr, flush=True)


def _early_stopping(config: TrainConfig, validates: bool) -> list[Callback]:
    patience = config.training.patience
    if patience is None or not validates:
        return []
    return [EarlyStopping("val/pcc", patience=patience, mode="max")]


def _check_resumable(checkpoint: Path, model: ExpressionModel) -> None:
    """Refuse to go on with a run of another model, panel or sections: the weights would be named wrongly."""
    description, _ = read_checkpoint(checkpoint)
    now: dict[str, Any] = json.loads(json.dumps(describe(model)))
    before: dict[str, Any] = json.loads(json.dumps(description))
    if different := [name for name in now if now[name] != before.get(name)]:
        raise ValueError(
            f"{checkpoint} cannot be gone on with: its {different[0]} differs from this configuration's. Give the same "
            "model and data, or another output."
        )


def _custom(model: dict[str, Any]) -> dict[str, Any]:
    """The classes and factories among a model's arguments, which a file cannot hold."""
    return {name: value for name, value in model.items() if callable(value)}


def _epoch_of(checkpoint: str) -> int:
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["epoch"])
