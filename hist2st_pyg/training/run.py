"""One training run: from a configuration to a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.loggers import Logger

from hist2st_pyg.data.expression import gene_panel
from hist2st_pyg.data.preprocessing import Preprocessing, spot_pitch
from hist2st_pyg.data.splits import cut_stripes
from hist2st_pyg.datasets import load_sections, section_names
from hist2st_pyg.io.embeddings import read_embeddings
from hist2st_pyg.models import MODELS, ClosedFormModel, ExpressionModel
from hist2st_pyg.models.card import summary_facts
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.models.training_sections import plain_sections
from hist2st_pyg.nn.vision import encoder_origin
from hist2st_pyg.patients import given_patients, refuse_unknown_patients, with_patients
from hist2st_pyg.section import Section
from hist2st_pyg.training.config import DataConfig, TrainConfig, config_dict
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.fitting import fit
from hist2st_pyg.training.lock import run_lock
from hist2st_pyg.training.loggers import log_training, open_loggers
from hist2st_pyg.training.pictures import draw_training
from hist2st_pyg.training.processes import is_first, rank
from hist2st_pyg.training.resume import CONFIG, SUMMARY, check_resumable, is_finished, mend_folder
from hist2st_pyg.training.trust import gene_trust
from hist2st_pyg.utils.files import read_yaml, write_json, write_text
from hist2st_pyg.utils.resolver import resolve


def train(
    config: TrainConfig, sections: Sequence[Section] | None = None, loggers: Sequence[Logger] | None = None
) -> Path:
    """Train a model and leave everything about it in a run folder.

    The folder holds ``config.yaml`` (every value), ``metrics.csv`` (losses by part and validation PCC of each
    epoch), ``last.ckpt``, ``model/`` (of the epoch with the best validation PCC, or the last where nothing
    validates), ``summary.json``, ``figures/`` and, unless it is off, ``wandb/``. A model that is fitted at once has
    neither metrics nor checkpoint.

    Args:
        config: The configuration; see :func:`~hist2st_pyg.training.presets.preset_config`.
        sections: The data set's sections where they are already at hand; else they are read as ``config.data`` says.
        loggers: Open loggers to write to, which stay open; None opens and closes those of the configuration.

    Returns:
        The run folder.

    With ``resume`` a run that broke off goes on from the end of its last epoch, and becomes, on the same machine, bit
    for bit the run that it would have been (on a GPU as far as its sums are the same twice); one that has ended stays
    as it is.

    Raises:
        BlockingIOError: If another process trains into the run folder.
        FileExistsError: If the run folder holds a run and ``resume`` is not set.
        ValueError: If the configuration does not fit the data, or not the run that is to be gone on with.
    """
    config = replace(config, data=config.data.with_absolute_paths())  # its record holds in any working directory
    output = Path(config.output)
    if is_finished(config):
        return output
    started = time.perf_counter()
    # Each process draws dropout and augmentations of its own; the weights are the first one's.
    pl.seed_everything(config.seed + rank(), workers=True, verbose=False)
    datamodule = make_datamodule(config, sections)
    datamodule.setup("fit")
    model = make_model(config, datamodule)
    with ExitStack() as stack:
        writes = is_first()
        if writes:
            stack.enter_context(run_lock(output))
        if is_finished(config):  # by a process that held the folder until now
            return output
        if writes:
            mend_folder(config)
        check_resumable(config, model)
        opened = list(loggers) if loggers is not None else stack.enter_context(open_loggers(config, output))
        plain = config_dict(config)
        if writes:
            write_text(output / CONFIG, yaml.safe_dump(plain, sort_keys=False))
        fit_started = time.perf_counter()
        result = fit(config, model, datamodule, opened)
        if not writes:
            return output
        fit_ended = time.perf_counter()
        pictures = draw_training(output, result.model, datamodule)
        summary = {
            "chosen_epoch": result.chosen_epoch,
            "val_pcc": result.val_pcc,
            "epochs": result.epochs,
            "steps": result.steps,
            "seconds": {"prepare": fit_started - started, "fit": fit_ended - fit_started},
            "parameters": sum(p.numel() for p in model.parameters()),
            # Where the vision stage's first weights came from, if not from the seed.
            "encoder_weights": encoder_origin(model.vision_stages),
            "config": plain,
            "sections": plain_sections(model.training_sections),
        }
        result.model.gene_trust = gene_trust(result.model, datamodule)
        result.model.save_pretrained(output / "model", model_card_kwargs=summary_facts(summary))
        write_json(output / SUMMARY, summary)
        log_training(opened, output, summary, pictures)
    return output


def read_sections(data: DataConfig, names: Sequence[str] | None = None) -> list[Section]:
    """Read the sections of a configuration, with their embeddings where it asks for them.

    Args:
        data: The configuration.
        names: The sections wanted, all when None; with stripes, the stripes.

    Raises:
        ValueError: If there is no such section, or ``data.patients`` names one that is not there.
    """
    whole = names
    if data.stripes is not None and names is not None:
        whole = list(dict.fromkeys(_whole(name) for name in names))
    sections = load_sections(data.name, data.root, whole, **data.options)
    sections = _with_patients(sections, data)
    if data.embedding is not None and Path(data.embedding).is_dir():
        read_embeddings(sections, data.embedding)
    if data.stripes is None:
        return sections
    stripes = [part for section in sections for part in cut_stripes(section, data.stripes)]
    if names is None:
        return stripes
    by_name = _by_name(stripes, names)
    return [by_name[name] for name in names]


def _whole(stripe: str) -> str:
    """The section of which a stripe is, by name."""
    return stripe.rpartition("_")[0] or stripe


def _with_patients(sections: Sequence[Section], data: DataConfig, handed_over: bool = False) -> list[Section]:
    """The sections with the patients that the configuration gives; those handed over may be stripes already."""
    striped = handed_over and data.stripes is not None
    whole = {section.name: _whole(section.name) if striped else section.name for section in sections}
    known = set(whole.values())
    named = given_patients(data.patients)
    if not known.issuperset(named) and (data.root is not None or not handed_over):
        known.update(section_names(data.name, data.root, **data.options))  # of these, some are not in this run
    refuse_unknown_patients(named, sorted(known))
    return with_patients(sections, data.patients, whole)


def _by_name(sections: Sequence[Section], named: Sequence[str]) -> dict[str, Section]:
    """All sections by name; those named have to be among them."""
    found = {section.name: section for section in sections}
    for name in named:
        if name not in found:
            raise ValueError(f"There is no section {name!r}; there are {', '.join(found)}.")
    return found


def run_data(folder: str | Path) -> DataConfig:
    """The data that a run was told to train on, as its folder's ``config.yaml`` says.

    Args:
        folder: The run folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not the configuration of a run.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}, which says what a run was trained on; name the data set instead.")
    try:
        return DataConfig(**read_yaml(path)["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error


def make_datamodule(config: TrainConfig, sections: Sequence[Section] | None = None) -> SectionDataModule:
    """Read the sections, fit the panel on those of training, and wrap them.

    Raises:
        ValueError: If a named section is not there.
    """
    data = config.data
    train, val, test = _parts(data, sections)
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
    )


def _parts(data: DataConfig, sections: Sequence[Section] | None) -> list[list[Section]]:
    """The sections of training, validation and test; of those of test no image is opened, they are kept apart."""
    named = [*data.train, *data.val, *data.test] if data.train else None
    sections = read_sections(data, named) if sections is None else _with_patients(sections, data, handed_over=True)
    kept_out = [*data.val, *data.test]
    # A misspelt test section would otherwise train with the rest.
    by_name = _by_name(sections, named or kept_out)
    train = [by_name[name] for name in data.train] or [
        section
        for section in sections
        if section.name not in kept_out and (section.image is not None or data.embedding is not None)
    ]
    return [train, [by_name[name] for name in data.val], [by_name[name] for name in data.test]]


def make_model(config: TrainConfig, datamodule: SectionDataModule) -> ExpressionModel:
    """Build the model for the data module's panel and patches, with the training sections' statistics.

    Raises:
        ValueError: If the model cannot do what the configuration asks for.
    """
    preprocessing, options = datamodule.preprocessing, config.training
    arguments = dict(config.model)
    name = arguments.pop("name", "hist2st")
    build = resolve(MODELS, name, "model.name")
    known = parameters_of(build)
    shapes: dict[str, Any] = {
        "patch_size": preprocessing.patch_size,
        "n_scales": len(preprocessing.scales),
        "n_views": options.n_views,
    }
    for shape, plain, what in (("n_scales", 1, "several scales"), ("n_views", 0, "self-distillation")):
        if shapes[shape] != plain and shape not in known:
            raise ValueError(f"model.name={name!r} knows no {what}, got {shapes[shape]} {shape}.")
    if preprocessing.embedding is not None:
        if options.n_views:
            raise ValueError(f"Precomputed embeddings have no views to distil from, got n_views={options.n_views}.")
        width = datamodule.data("train")[0].x.shape[1]
        arguments["vision"] = "precomputed"
        arguments["vision_kwargs"] = {**(arguments.get("vision_kwargs") or {}), "embedding_channels": width}
    shapes = {shape: value for shape, value in shapes.items() if shape in known}
    model = build(len(preprocessing.genes), **{**arguments, **shapes})
    if datamodule.window == 1 and model.receptive_field != 0 and not isinstance(model, ClosedFormModel):
        raise ValueError(
            f"data.window=1 trains each spot alone, but model.name={name!r} reads the others of its section; take a "
            "larger window, or null for whole sections."
        )
    if options.normalize and preprocessing.embedding is None:
        mean, std = datamodule.pixel_statistics()
        model.pixel_mean.copy_(mean)
        model.pixel_std.copy_(std)
    mean, std = datamodule.target_statistics()
    if options.standardize:
        model.target_mean.copy_(mean)
        model.target_std.copy_(std)
    model.initialize(mean)
    model.preprocessing = preprocessing
    model.training_sections = {
        part: [section.record for section in datamodule.sections[part]] for part in ("train", "val")
    }
    return model
