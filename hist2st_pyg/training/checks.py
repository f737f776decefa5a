"""Validate a configuration before the first file is read."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any, get_args

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from torch_geometric.data import Batch, Data

from hist2st_pyg.data.expression import NormalizeBy
from hist2st_pyg.data.parts import section_parts
from hist2st_pyg.data.splits import check_disjoint, check_stripes
from hist2st_pyg.datasets import DATASETS
from hist2st_pyg.io.tables import read_genes
from hist2st_pyg.models import MODELS, ClosedFormModel
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.nn.vision import without_fetching
from hist2st_pyg.training.config import DataConfig, TrainConfig
from hist2st_pyg.training.fitting import LIGHTNING, make_trainer
from hist2st_pyg.training.preparation import build_model
from hist2st_pyg.training.task import ExpressionTask
from hist2st_pyg.training.tracking import wandb_mode
from hist2st_pyg.utils.quiet import without_lines
from hist2st_pyg.utils.resolver import check_choice, resolve
from hist2st_pyg.utils.writable import check_folder

PROCESSES_PER_CORE = 4
"""Largest number of training processes per core."""
GENES, SPOTS, WIDTH = 3, 4, 8
"""Genes, spots and embedding width of the synthetic section that a model is tested on."""


def check_config(config: TrainConfig) -> None:
    """Raise if a configuration cannot be trained on any data; nothing is read, written or downloaded.

    Args:
        config: The configuration.

    Raises:
        OSError: If the run folder or the patch cache cannot be written to.
        ValueError: If a key is unknown, the machine lacks the accelerator, devices or precision, or the model cannot be
            built or does not accept such patches.
    """
    _check_data(config.data)
    if config.training.patience is not None and not (config.data.val or config.data.val_share):
        raise ValueError(
            f"training.patience={config.training.patience} needs validation, which this run lacks; set data.val "
            "or data.val_share, or training.patience to null."
        )
    wandb_mode(config.wandb)
    check_folder(config.output, "output")
    trainer = _check_trainer(config)
    with torch.random.fork_rng(devices=[]):
        _check_model(config, trainer)


def _check_data(data: DataConfig) -> None:
    resolve(DATASETS, data.name, "dataset")
    check_choice(get_args(NormalizeBy), data.normalize_by, "normalize_by")
    check_disjoint([], [], [], data.split)
    if data.stripes is not None:
        check_stripes(data.stripes)
    if isinstance(data.panel, str) and data.panel not in ("variable", "variance", "paper"):
        try:
            read_genes(data.panel)
        except (OSError, ValueError) as error:
            raise type(error)(f"data.panel: {error}") from error
    check_folder(data.cache, "data.cache")


def _check_trainer(config: TrainConfig) -> Trainer:
    try:
        with without_lines(*LIGHTNING, below=logging.ERROR):  # it repeats its warnings when training starts
            trainer = make_trainer(config, [], [], validates=False)
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"accelerator={config.accelerator!r}, devices={config.devices!r}, strategy={config.strategy!r} or "
            f"precision={config.precision!r} is not available: {error}"
        ) from error
    if (n := trainer.num_devices) > (most := PROCESSES_PER_CORE * (os.cpu_count() or 1)):
        raise ValueError(f"devices={config.devices!r} starts {n} processes; this machine allows at most {most}.")
    return trainer


def _check_model(config: TrainConfig, trainer: Trainer) -> None:
    """Build the model and run one training step on a few synthetic spots."""
    model, data = dict(config.model), config.data
    name = model.get("name", "hist2st")
    known = parameters_of(resolve(MODELS, name, "model.name"))
    if data.embedding is None and "vision" in known:
        given = model.get("vision_kwargs") or {}
        unfetched = without_fetching(model.get("vision", known["vision"]), given)
        if unfetched is None:
            return
        if unfetched != given:
            model["vision_kwargs"] = unfetched
    try:
        built = build_model(replace(config, model=model), GENES, WIDTH)
    except RuntimeError as error:  # torch's errors about sizes
        raise ValueError(f"model.name={name!r} cannot be built with these arguments: {error}") from error
    task = ExpressionTask(built, config.training)
    try:
        _try(task, data, trainer)
    except Exception as error:
        raise ValueError(
            f"model.name={name!r} cannot be trained with these arguments on data.patch_size={data.patch_size}, "
            f"data.window={data.window}, training.batch_size={config.training.batch_size}, "
            f"precision={config.precision!r}: {error}"
        ) from error


@torch.no_grad()
def _try(task: ExpressionTask, data: DataConfig, trainer: Trainer) -> None:
    model = task.model
    # Batch norm fails on one spot in training mode only; a user's own layer runs in eval mode here.
    alone = data.window == 1 and task.options.batch_size == 1
    shape = (3 * len(data.scales), data.patch_size, data.patch_size) if data.embedding is None else (WIDTH,)
    batch = _made_batch(1 if alone else SPOTS, shape)
    model.train(alone)
    model.remember(section_parts(batch.to_data_list()))
    if isinstance(model, ClosedFormModel):
        for stage in model.vision_stages:
            model.encode(stage, batch)
        return
    if trainer.strategy.root_device.type != "cpu":  # the check runs on the CPU, which lacks the GPU's precisions
        task.losses(batch)
        return
    precision = trainer.precision_plugin
    converted: Any = precision.convert_module(task)
    with precision.forward_context():
        converted.losses(precision.convert_input(batch))


def _made_batch(n: int, shape: tuple[int, ...]) -> Data:
    """Build a batch of one section with ``n`` spots in a row; ``shape`` is that of a patch or an embedding."""
    x = torch.rand(n, *shape) if len(shape) == 1 else torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    spots = torch.arange(n)
    edges = torch.stack([torch.cat([spots[:-1], spots[1:]]), torch.cat([spots[1:], spots[:-1]])])
    section = Data(
        x=x,
        pos=torch.stack([spots * 10.0, spots * 0.0], 1),
        grid=torch.stack([spots, spots * 0], 1),
        edge_index=edges,
        edge_attr=torch.ones(edges.shape[1], 1),
        counts=torch.ones(n, GENES),
        y=torch.rand(n, GENES),
        size_factor=torch.ones(n),
        gene_mask=torch.ones(1, GENES, dtype=torch.bool),
        section="made",
        patient="",
    )
    return Batch.from_data_list([section])
