"""From a configuration to its data and its model."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.tiny_runs import tiny

from hist2st_pyg import MODELS, Section, train
from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig, preset_config
from hist2st_pyg.training.preparation import build_model, fit_to_sections, make_datamodule


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"train": ["A1"], "val": ["A2"], "test": []},
            "patient 'A' is in training and in validation.* split='section'",
        ),
        ({"train": ["A1", "B1"]}, "section 'B1' is in training and in test"),
        ({"train": ["A1"], "test": ["A2"]}, "patient 'A' is in training and in test.*split='section'"),
        ({"train": ["A1"], "test": ["B9"]}, "no section 'B9'; there are A1, A2, B1"),
        ({"train": ["Z9"], "test": []}, "no section 'Z9'; there are A1, A2, B1"),
        ({"test": ["b1"]}, "no section 'b1'; there are A1, A2, B1"),  # else B1 would train
        ({"panel": "paper"}, "panel='paper' needs the data set's root"),
        ({"n_genes": 500}, "fewer than the panel.s 500"),
    ],
)
def test_what_does_not_fit_is_refused(cohort: list[Section], data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(tiny(data), cohort)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"test": ["A1", "A2"], "val": ["B1"]},
            r"kept for test \(data\.test\): A1, A2; kept for validation \(data\.val\): B1\.",
        ),
        ({"test": ["A1"], "blind": True}, r"kept for test \(data\.test\): A1; without an image: A2, B1\."),
    ],
)
def test_no_section_left_to_train_is_told_with_the_reason(
    cohort: list[Section], data: dict[str, Any], message: str
) -> None:
    blind = data.pop("blind", False)
    sections = [replace(section, image=None) for section in cohort] if blind else cohort
    with pytest.raises(ValueError, match=f"No section is left to train on: {message}"):
        train(tiny({**data, "split": "section"}), sections)
    assert not Path("run").exists()


def test_the_data_module_denoises_when_asked_to(cohort: list[Section]) -> None:
    for denoise in (False, True):
        module = make_datamodule(tiny({"n_genes": 20, "panel": "variance"}, {}, {"denoise": denoise}), cohort)
        assert all(("y_denoised" in data) is denoise for data in module.data("train"))
        assert all("y_denoised" not in data for data in module.data("test"))


@pytest.mark.parametrize("name", ["hist2st", "histogene", "graph_only"])
def test_a_model_that_reads_other_spots_is_not_trained_on_single_ones(cohort: list[Section], name: str) -> None:
    model = {"name": name, "vision_kwargs": None} if name != "histogene" else {"name": name}
    config = preset_config("small", data={"n_genes": 8, "window": 1, "test": ["B1"]}, model=model, wandb="off")
    with pytest.raises(ValueError, match=rf"data\.window=1 trains on single spots, but model\.name='{name}' reads"):
        train(config, cohort)


def test_what_a_model_cannot_do_is_refused_before_it_is_built() -> None:
    for model, data, training, message in (
        (
            {"name": "mean"},
            {"scales": [1.0, 2.0]},
            {},
            "model.name='mean' does not support several scales, got n_scales=2",
        ),
        ({"name": "ridge"}, {}, {"n_views": 3}, "model.name='ridge' does not support self-distillation, got n_views=3"),
        ({}, {"embedding": "uni"}, {"n_views": 3}, "Precomputed embeddings have no augmented views; set training.n_v"),
        ({"name": "hist3st"}, {}, {}, "Unknown model.name='hist3st'. Choose one of: bleep, "),
    ):
        config = TrainConfig(
            data=DataConfig(patch_size=28, **data), model=model, training=TrainingConfig(**{"n_views": 0, **training})
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            build_model(config, 5)


def test_a_model_has_the_statistics_and_the_records_of_its_training_sections(cohort: list[Section]) -> None:
    module = make_datamodule(tiny({"val_share": 0.0, "scales": [1.0]}), cohort)
    for normalize, standardize in ((True, False), (False, True)):
        model = MODELS["stnet"](8, patch_size=28, vision="cnn", vision_kwargs={"channels": (4,), "out_channels": 8})
        fit_to_sections(model, module, TrainingConfig(normalize=normalize, standardize=standardize))
        pixels = torch.cat([data.x for data in module.data("train")]).double().numpy()
        y = torch.cat([data.y for data in module.data("train")]).double().numpy()
        mean, std = (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))) if normalize else (np.zeros(3), np.ones(3))
        np.testing.assert_allclose(model.pixel_mean, mean, rtol=1e-4)
        np.testing.assert_allclose(model.pixel_std, std, rtol=1e-4)
        np.testing.assert_allclose(model.target_mean, y.mean(0) if standardize else 0, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.target_std, y.std(0) if standardize else 1, rtol=1e-4)
        assert model.preprocessing is module.preprocessing
        assert model.training_sections == {"train": [section.record for section in cohort[:2]], "val": []}


def test_the_training_sections_resolution_is_kept_where_all_have_one(cohort: list[Section]) -> None:
    two = [replace(cohort[0], um_per_pixel=2.0), replace(cohort[1], um_per_pixel=3.0), cohort[2]]
    assert make_datamodule(tiny(), two).preprocessing.um_per_pixel == 2.5
    one = [two[0], replace(two[1], um_per_pixel=None), cohort[2]]
    assert make_datamodule(tiny(), one).preprocessing.um_per_pixel is None
