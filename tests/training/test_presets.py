from __future__ import annotations

import copy
import dataclasses
import inspect

import pytest

from hist2st_pyg import MODELS, Hist2ST, HisToGene
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.training import (
    PRESETS,
    AugmentConfig,
    DataConfig,
    TrainConfig,
    TrainingConfig,
    config_dict,
    preset_config,
    preset_values,
)


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_names_arguments_that_exist(preset: str, model: str) -> None:
    config = preset_config(preset, model={"name": model})
    known = parameters_of(MODELS[model])
    assert config.model["name"] == model
    assert set(config.model) - {"name"} <= set(known)
    assert config.training.n_views == 0 or "n_views" in known


def test_every_model_of_a_preset_exists() -> None:
    assert {model for values in PRESETS.values() for model in values["models"]} <= set(MODELS)


def test_the_paper_is_the_paper() -> None:
    config = preset_config("paper")
    defaults = {name: p.default for name, p in inspect.signature(Hist2ST).parameters.items()}
    assert config.model == {"name": "hist2st", "published_likelihood": True}
    paper = {"transformer_layers": 8, "gnn_layers": 4, "heads": 16, "dim_head": 64, "n_pos": 64, "dropout": 0.2}
    assert {key: defaults[key] for key in paper} == paper
    t = config.training
    assert (t.epochs, t.batch_size, t.optimizer, t.lr, t.lr_scheduler, t.step_size, t.gamma) == (
        350, 1, "adam", 1e-5, "step", 50, 0.9,
    )  # fmt: skip
    assert (t.likelihood_weight, t.n_views, t.distillation_weight, t.normalize, t.standardize) == (
        0.25,
        5,
        0.5,
        False,
        False,
    )
    assert dataclasses.astuple(t.view_augmentation)[:3] == (0.1, 90.0, 0.2)
    assert (config.data.k, config.data.max_distance, config.data.coord_type, config.data.panel) == (
        4,
        2.0,
        "array",
        "paper",
    )
    # All spots train, on patches cut from the transposed image; nothing chooses the epoch.
    assert (config.data.val_share, config.data.transpose_patches, config.data.patch_size) == (0.0, True, 112)
    assert (config.data.window, config.training.patience) == (None, None)


def test_the_paper_s_histogene_is_the_published_recipe() -> None:
    """Pang et al. 2021: 8 layers of width 1024, 100 epochs of Adam at a constant 1e-5, one section a step."""
    config = preset_config("paper", model={"name": "histogene"})
    assert config.model == {"name": "histogene", "transformer_layers": 8}
    defaults = {name: p.default for name, p in inspect.signature(HisToGene).parameters.items()}
    paper = {"channels": 1024, "heads": 16, "dim_head": 64, "n_pos": 64, "dropout": 0.1, "position": "table"}
    assert {key: defaults[key] for key in paper} == paper
    t = config.training
    assert (t.epochs, t.batch_size, t.optimizer, t.lr, t.lr_scheduler) == (100, 1, "adam", 1e-5, "constant")
    assert (t.n_views, t.augment, t.normalize, t.standardize, t.reduction) == (0, None, False, False, "mean")
    assert (config.data.patch_size, config.data.transpose_patches, config.data.val_share) == (112, True, 0.0)


def test_the_paper_s_stnet_is_the_published_recipe() -> None:
    """He et al. 2020: 224 px, ImageNet weights, SGD on the sum over random batches of 32 spots, no jitter."""
    config = preset_config("paper", model={"name": "stnet"})
    assert config.model == {"name": "stnet", "vision_kwargs": {"weights": "imagenet", "scaling": "training"}}
    t, d = config.training, config.data
    assert (t.epochs, t.batch_size, t.optimizer, t.momentum, t.lr, t.weight_decay) == (50, 32, "sgd", 0.9, 1e-6, 0.0)
    assert (t.lr_scheduler, t.reduction, t.normalize, t.standardize) == ("constant", "sum", True, False)
    assert t.augment == AugmentConfig(grayscale=0, rotation=0, flip=0, jitter=0, symmetries=True, per_spot=True)
    assert (d.patch_size, d.window, d.val_share, d.transpose_patches, d.scales) == (224, 1, 0.0, False, (1.0,))
    assert (d.panel, d.patch_um, d.patch_pitch, d.stain) == ("paper", None, None, "none")
    # What a user says wins over the model's own values too.
    assert preset_config("paper", data={"patch_size": 56}, model={"name": "stnet"}).data.patch_size == 56


@pytest.mark.parametrize("model", ["histogene", "stnet"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_baseline_is_given_as_much_image_as_hist2st(preset: str, model: str) -> None:
    configs = [preset_config(preset, model={"name": name}) for name in ("hist2st", model)]
    sides = [config.data.patch_size for config in configs]
    seen = [
        (config.model.get("vision_kwargs") or {}).get("size") or side
        for config, side in zip(configs, sides, strict=True)
    ]
    assert seen[1] >= seen[0]
    assert {(config.data.patch_pitch, config.data.patch_um, config.data.stain) for config in configs} == {
        (configs[0].data.patch_pitch, configs[0].data.patch_um, configs[0].data.stain)
    }


def test_the_papers_of_triplex_and_hggep_are_their_recipes() -> None:
    """Chung et al. 2024: config/her2st/TRIPLEX.yaml; Li et al. 2024: HGGEP_train.py."""
    config = preset_config("paper", model={"name": "triplex"})
    t, d = config.training, config.data
    assert (t.epochs, t.optimizer, t.lr, t.lr_scheduler, t.step_size, t.gamma) == (200, "adam", 1e-4, "step", 50, 0.9)
    assert (t.n_views, t.normalize, d.patch_size, d.scales) == (0, True, 224, (1.0, 5.0))
    config = preset_config("paper", model={"name": "hggep"})
    t, d = config.training, config.data
    assert (t.epochs, t.lr, t.n_views, t.likelihood_weight, t.distillation_weight) == (500, 1e-5, 5, 0.25, 0.5)
    assert (d.patch_size, d.k, d.max_distance, d.coord_type) == (112, 8, 2.0, "array")
    assert config.model["published_likelihood"]


def test_a_configuration_without_a_preset_records_none() -> None:
    config = TrainConfig()
    assert config_dict(config)["preset"] is None
    assert preset_config(None) == config


def test_values_win_over_the_preset() -> None:
    config = preset_config("small", data={"k": 3}, model={"gnn": "gat"}, training={"lr": 0.5}, seed=7)
    assert (config.data.k, config.model["gnn"], config.training.lr, config.seed) == (3, "gat", 0.5, 7)
    assert config.model["vision"] == "cnn"


def test_each_model_has_values_of_its_own() -> None:
    histogene = preset_config("small", model={"name": "histogene", "heads": 2})
    assert histogene.model == {**PRESETS["small"]["models"]["histogene"]["model"], "name": "histogene", "heads": 2}
    assert histogene.training.lr == 1e-3
    assert preset_config("small", model={"name": "histogene"}, training={"lr": 0.5}).training.lr == 0.5
    assert preset_config("small", model={"name": "mean"}).model == {"name": "mean"}
    assert preset_config("paper", model={"name": "stnet"}).training.n_views == 0


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match=r"Unknown preset='tiny'. Choose one of: paper, small."):
        preset_config("tiny")
    with pytest.raises(ValueError, match=r"Unknown model\.name='resnet'\. Choose one of: .*hist2st, "):
        preset_values("small", "resnet")
    with pytest.raises(TypeError, match="learning_rate"):
        preset_config("small", training={"learning_rate": 1})


def test_config_dict_is_plain() -> None:
    values = config_dict(preset_config("small", model={"gnn": Hist2ST}))
    assert values["model"]["gnn"] == "Hist2ST"
    assert DataConfig(**values["data"]) == preset_config("small").data
    assert values["training"]["augment"]["symmetries"] is True
    assert set(values["training"]) == {field.name for field in dataclasses.fields(TrainingConfig)}


def test_values_of_a_preset_that_cannot_go_with_what_is_given_are_left_out() -> None:
    plain = preset_config("small")
    assert (plain.data.patch_pitch, plain.data.scales) == (1.0, (1.0, 3.5, 8.0))
    assert (plain.model["color_stream"], plain.model["kernel_stream"], plain.model["seen_scales"]) == (True, True, 2)
    assert preset_config("small", data={"patch_um": 100.0}).data.patch_pitch is None
    assert "vision_kwargs" not in preset_config("small", model={"vision": "convmixer"}).model
    assert "vision_kwargs" in preset_config("small", model={"vision": "cnn"}).model
    # An encoder that the preset leaves to the model's default is the same one when it is named.
    for preset, name, vision in (("small", "graph_only", "color_texture"), ("paper", "stnet", "densenet121")):
        named = preset_config(preset, model={"name": name, "vision": vision}).model
        assert named["vision_kwargs"] == preset_config(preset, model={"name": name}).model["vision_kwargs"]
    kwargs = {"channels": 8}
    assert (
        preset_config("small", model={"vision": "convmixer", "vision_kwargs": kwargs}).model["vision_kwargs"] == kwargs
    )
    embedded = preset_config("small", data={"embedding": "uni"})
    assert embedded.data.scales == (1.0,)
    assert not {"color_stream", "kernel_stream", "vision_kwargs"} & set(embedded.model)
    embedded = preset_config("small", data={"embedding": "uni"}, model={"name": "hggep"})
    assert (embedded.model["enhance"], "vision_kwargs" in embedded.model) == (False, False)


SEVERAL_SCALES = {
    "bleep",
    "eggn",
    "embedding_ridge",
    "graph_only",
    "hggep",
    "hist2st",
    "kernel_ridge",
    "ridge",
    "ridge_neighbors",
    "triplex",
}


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_model_gets_the_fields_of_view_that_it_knows(model: str) -> None:
    scales = (1.0, 3.5) if model in SEVERAL_SCALES else (1.0,)
    scales = (1.0, 3.5, 8.0) if model == "hist2st" else scales  # the widest for its kernel stream
    # The rest is the same for all models, so that they are compared on the same patches.
    assert preset_values("small", model)["data"] == {**PRESETS["small"]["data"], "scales": list(scales)}
    assert preset_config("small", model={"name": model}).data.scales == scales
    published = (1.0, 5.0) if model == "triplex" else (1.0,)
    assert preset_config("paper", model={"name": model}).data.scales == published
    assert preset_config("small", {"scales": [2.0]}, {"name": model}).data.scales == (2.0,)


@pytest.mark.parametrize("model", ["hist2st", "mean", "stnet"])
def test_leaving_values_out_does_not_change_the_preset(model: str) -> None:
    before = copy.deepcopy(PRESETS)
    for given in ({}, {"embedding": "uni", "patch_um": 100.0}, {"vision": "convmixer"}):
        values = preset_values("small", model, **given)
        for part in values.values():
            part.clear()
    assert before == PRESETS
