"""Build the data module and the model of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hist2st_pyg.data.expression import gene_panel
from hist2st_pyg.data.preprocessing import Preprocessing, spot_pitch
from hist2st_pyg.models import MODELS, ClosedFormModel, ExpressionModel
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.models.saved_values import largest_number
from hist2st_pyg.nn.weight_limit import weight_limit
from hist2st_pyg.section import Section
from hist2st_pyg.training.config import TrainConfig, TrainingConfig
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.sections import split_sections
from hist2st_pyg.utils.resolver import resolve


def make_datamodule(config: TrainConfig, sections: Sequence[Section] | None = None) -> SectionDataModule:
    """Read the sections, fit the panel on the training sections, and build the data module.

    Args:
        config: The configuration; see :func:`~hist2st_pyg.preset_config`.
        sections: The data set's sections, if loaded; None reads them as configured in ``config.data``.

    Returns:
        The data module, for any Lightning ``Trainer``.

    Raises:
        ValueError: If a named section does not exist.

    >>> import hist2st_pyg as h
    >>> data = {"options": {"spots": 16}, "train": ["A1"], "val": ["B1"], "n_genes": 5, "patch_size": 16}
    >>> datamodule = make_datamodule(h.preset_config("small", data))
    >>> len(datamodule.preprocessing.genes), [section.name for section in datamodule.sections["val"]]
    (5, ['B1'])
    """
    data = config.data
    train, val, test = split_sections(data, sections)
    genes = gene_panel(data.panel, train, data.n_genes, data.name, data.root)
    resolutions = [s.um_per_pixel for s in train if s.um_per_pixel is not None]
    embedding = Path(data.embedding).name if data.embedding is not None else None
    preprocessing = Preprocessing(
        tuple(genes),
        um_per_pixel=sum(resolutions) / len(resolutions) if len(resolutions) == len(train) else None,
        pitch=sum(spot_pitch(section.pos) for section in train) / len(train),
        **{**data.data_options(), "embedding": embedding},
    )
    return SectionDataModule(
        preprocessing,
        train,
        val,
        test,
        split=data.split,
        val_share=data.val_share,
        val_side=data.val_side,
        batch_size=config.training.batch_size,
        window=data.window,
        denoise=config.training.denoise,
        cache=data.cache,
        seed=config.seed,
        num_workers=config.num_workers,
    )


def build_model(config: TrainConfig, n_genes: int, embedding_channels: int | None = None) -> ExpressionModel:
    """Build the model of a configuration, without fitting it.

    Args:
        config: The configuration.
        n_genes: Number of genes, G.
        embedding_channels: Width of the precomputed embeddings, if the configuration uses them.

    Raises:
        ValueError: If the model cannot do what the configuration asks for.
    """
    data, options = config.data, config.training
    arguments = dict(config.model)
    name = arguments.pop("name", "hist2st")
    build = resolve(MODELS, name, "model.name")
    known = parameters_of(build)
    shapes: dict[str, Any] = {
        "patch_size": data.patch_size,
        "n_scales": len(data.scales),
        "n_views": options.n_views,
    }
    for shape, plain, what in (("n_scales", 1, "several scales"), ("n_views", 0, "self-distillation")):
        if shapes[shape] != plain and shape not in known:
            raise ValueError(f"model.name={name!r} does not support {what}, got {shape}={shapes[shape]}.")
    if data.embedding is not None:
        if options.n_views:
            raise ValueError(
                f"Precomputed embeddings have no augmented views; set training.n_views=0, got {options.n_views}."
            )
        arguments["vision"] = "precomputed"
        given = arguments.get("vision_kwargs") or {}
        arguments["vision_kwargs"] = {**given, "embedding_channels": embedding_channels}
    shapes = {shape: value for shape, value in shapes.items() if shape in known}
    with weight_limit(f"set smaller sizes in model (its largest number is {largest_number(arguments)})"):
        model = build(n_genes, **{**arguments, **shapes})
    if data.window == 1 and model.receptive_field != 0 and not isinstance(model, ClosedFormModel):
        raise ValueError(
            f"data.window=1 trains on single spots, but model.name={name!r} reads other spots of the section; set a "
            "larger window, or null for whole sections."
        )
    return model


def make_model(config: TrainConfig, datamodule: SectionDataModule) -> ExpressionModel:
    """Build the model for the data module's panel and patches, with the training sections' statistics.

    A Lightning ``Trainer`` trains it like :func:`~hist2st_pyg.train`: it has its preprocessing, the statistics of
    colors and targets, and the names of its training sections.

    Args:
        config: The configuration.
        datamodule: Its data module, from :func:`make_datamodule`.

    Returns:
        The model, which is not trained yet.

    Raises:
        ValueError: If the model cannot do what the configuration asks for.

    >>> import hist2st_pyg as h
    >>> from pytorch_lightning import Trainer
    >>> data = {"options": {"spots": 16}, "train": ["A1"], "n_genes": 5, "patch_size": 16}
    >>> config = h.preset_config("small", data, {"vision": "linear"}, {"epochs": 1})
    >>> datamodule = make_datamodule(config)
    >>> model = make_model(config, datamodule)
    >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    >>> trainer = Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
    >>> trainer.fit(h.ExpressionTask(model, config.training), datamodule=datamodule)
    >>> h.predict_section(model, datamodule.sections["train"][0]).shape
    (16, 5)
    """
    preprocessing = datamodule.preprocessing
    embedded = preprocessing.embedding is not None
    width = datamodule.parts("train")[0].part(torch.tensor([0])).x.shape[1] if embedded else None
    model = build_model(config, len(preprocessing.genes), width)
    fit_to_sections(model, datamodule, config.training)
    return model


def fit_to_sections(model: ExpressionModel, datamodule: SectionDataModule, options: TrainingConfig) -> None:
    """Set a model's preprocessing, statistics and training sections from a data module.

    Args:
        model: The model, which is not trained yet.
        datamodule: The data.
        options: Training options that select the statistics.
    """
    if options.normalize and datamodule.preprocessing.embedding is None:
        mean, std = datamodule.pixel_statistics()
        model.pixel_mean.copy_(mean)
        model.pixel_std.copy_(std)
    mean, std = datamodule.target_statistics()
    if options.standardize:
        model.target_mean.copy_(mean)
        model.target_std.copy_(std)
    model.initialize(mean)
    model.preprocessing = datamodule.preprocessing
    model.training_sections = {
        part: [section.record for section in datamodule.sections[part]] for part in ("train", "val")
    }
    if any(getattr(stage, "takes", None) == "statistics" for stage in model.vision_stages):
        datamodule.add_statistics()
    if model.remembers:
        model.remember(datamodule.parts("train"))
