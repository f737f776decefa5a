"""Training on streamed sections: the numbers are those of the same sections held whole."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch_geometric.data import Batch

from hist2st_pyg import ExpressionTask, Preprocessing, Section, SectionDataModule, load_model, preset_config, train
from hist2st_pyg.data.streamed import StreamedSection
from hist2st_pyg.models import MODELS
from hist2st_pyg.training import TrainingConfig
from hist2st_pyg.training.loggers import METRICS
from hist2st_pyg.training.preparation import fit_to_sections
from hist2st_pyg.utils.json_files import read_json

WHERE = "hist2st_pyg.training.datamodule.STREAMED_SPOTS"


@contextmanager
def streamed_from(spots: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WHERE, spots)
        patch.setattr("hist2st_pyg.data.streamed.SPOTS_AT_ONCE", 13)
        yield


@pytest.fixture
def build(cohort: list[Section]) -> Callable[..., SectionDataModule]:
    """A data module whose sections are streamed, or not."""

    def make(streamed: bool, **options: Any) -> SectionDataModule:
        fields = options.pop("preprocessing", {})
        genes = (*cohort[0].adata.var_names[:12], "unmeasured")
        recipe = Preprocessing(genes, **{"patch_size": 14, "k": 3, "stain": "macenko", "scales": (1.0, 2.0), **fields})
        module = SectionDataModule(recipe, **{"train": cohort[:2], "window": 20, "seed": 3, **options})
        with streamed_from(10 if streamed else 1000):
            module.setup("fit")
            module.add_statistics()
        assert {type(section) is StreamedSection for section in module.parts("train")} == {streamed}
        return module

    return make


def check_same(a: Batch, b: Batch) -> None:
    assert set(a.keys()) == set(b.keys())
    for key in a.keys():  # noqa: SIM118  # a Batch gives pairs
        if isinstance(a[key], torch.Tensor):
            torch.testing.assert_close(
                b[key], a[key], rtol=1e-5 * (key == "y_denoised"), atol=1e-5 * (key == "y_denoised")
            )
        else:
            assert a[key] == b[key], key


@pytest.mark.parametrize(
    "options",
    [
        {"val_share": 0.3, "batch_size": 2, "denoise": True},
        {"window": 1, "batch_size": 40, "denoise": True, "preprocessing": {"normalize_by": "all"}},
        {"window": 100, "val_share": 0.0, "preprocessing": {"transpose_patches": True, "stain": "none"}},
    ],
    ids=["windows", "single spots", "sections smaller than a window"],
)
def test_batches_are_those_of_sections_held_whole(build: Callable[..., SectionDataModule], options: Any) -> None:
    whole, streamed = build(False, **options), build(True, **options)
    for a, b in zip(whole.train_dataloader(), streamed.train_dataloader(), strict=True):
        check_same(a, b)
    for a, b in zip(whole.data("train"), streamed.data("train"), strict=True):
        check_same(a, b)
    assert streamed.data("train") is streamed.data("train")
    for of in ("pixel_statistics", "target_statistics"):
        for expected, got in zip(getattr(whole, of)(), getattr(streamed, of)(), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


def test_a_section_of_the_cache_is_the_same(build: Callable[..., SectionDataModule], tmp_path: Path) -> None:
    for a, b in zip(build(False).train_dataloader(), build(True, cache=tmp_path).train_dataloader(), strict=True):
        check_same(a, b)
    assert sorted(path.name[:3] for path in tmp_path.iterdir()) == ["A1-", "A2-"]


def test_small_sections_beside_a_large_one_are_denoised_with_it(cohort: list[Section]) -> None:
    small = replace(cohort[1], adata=cohort[1].adata[:30].copy())
    recipe = Preprocessing(tuple(cohort[0].adata.var_names[:15]), patch_size=14, k=3)

    def made(streamed_above: int) -> SectionDataModule:
        module = SectionDataModule(recipe, [cohort[0], small], val_share=0.0, window=20, denoise=True)
        with streamed_from(streamed_above):
            module.setup("fit")
        return module

    mixed = made(40)
    assert [type(section) is StreamedSection for section in mixed.parts("train")] == [True, False]
    for a, b in zip(made(1000).data("train"), mixed.data("train"), strict=True):
        torch.testing.assert_close(b.y_denoised, a.y_denoised, rtol=1e-5, atol=1e-5)
        assert not torch.equal(b.y_denoised, b.y)


def test_without_structure_streamed_targets_stay_as_they_are(
    cohort: list[Section], caplog: pytest.LogCaptureFixture
) -> None:
    adata = cohort[0].adata.copy()
    adata.X = np.random.default_rng(0).poisson(40.0, adata.shape).astype(np.float32)
    recipe = Preprocessing(tuple(adata.var_names[:15]), patch_size=14, k=3, normalize_by="all")
    with streamed_from(10):
        module = SectionDataModule(recipe, [replace(cohort[0], adata=adata)], window=20, val_share=0.0, denoise=True)
        module.setup("fit")
    assert "y_denoised" not in next(iter(module.train_dataloader()))
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "no structure above the noise" in warning


def test_sections_shown_whole_are_not_streamed(cohort: list[Section]) -> None:
    recipe = Preprocessing(tuple(cohort[0].adata.var_names[:5]), patch_size=14)
    with streamed_from(10):
        module = SectionDataModule(recipe, cohort[:1], val_share=0.0)
        assert type(module.parts("train")[0]) is not StreamedSection


@pytest.mark.parametrize("val", [[], ["B1"]], ids=["squares", "a section"])
def test_a_run_is_the_same(cohort: list[Section], tmp_path: Path, val: list[str]) -> None:
    data = {"train": ["A1", "A2"], "val": val, "patch_size": 14, "n_genes": 10, "window": 20, "val_share": 0.3}
    rows, summaries, trusted = [], [], []
    for name, spots in (("whole", 1000), ("streamed", 10)):
        options = {"output": str(tmp_path / name), "wandb": "off", "accelerator": "cpu"}
        config = preset_config("small", data, {"vision_kwargs": {"channels": [4]}}, {"epochs": 2}, **options)
        with streamed_from(spots):
            run = train(config, cohort)
        with (run / METRICS).open(newline="") as file:
            rows.append([[float(value) for value in row.values() if value] for row in csv.DictReader(file)])
        summaries.append(read_json(run / "summary.json"))
        trusted.append(load_model(run / "model").gene_trust)
        assert sorted(path.name for path in (run / "figures").iterdir()) == ["curves.png", "validation.png"]
    for whole, streamed in zip(*rows, strict=True):
        assert streamed == pytest.approx(whole, abs=1e-4)
    assert summaries[0]["chosen_epoch"] == summaries[1]["chosen_epoch"]
    for column, values in trusted[0].items():
        assert trusted[1][column] == pytest.approx(values, abs=1e-3), column


def test_a_test_and_a_prediction_are_the_same(build: Callable[..., SectionDataModule], cohort: list[Section]) -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    found = []
    for streamed in (False, True):
        torch.manual_seed(0)
        module = build(streamed, test=cohort[2:], num_workers=0)
        task = ExpressionTask(MODELS["graph_only"](13, patch_size=14, n_scales=2, gnn="sage"))
        trainer = Trainer(enable_model_summary=False, **quiet)
        with streamed_from(10 if streamed else 1000):
            (scores,) = trainer.test(task, datamodule=module, verbose=False)
            found.append((scores, trainer.predict(task, datamodule=module)[0]["expression"]))
    (whole, expression), (of_streamed, in_blocks) = found
    assert of_streamed == pytest.approx(whole, abs=1e-5)
    torch.testing.assert_close(in_blocks, expression, rtol=1e-5, atol=1e-5)


REMEMBERS: dict[str, dict[str, Any]] = {
    "hist2st": {"vision": "cnn", "transformer_layers": 0, "gnn": "sage", "kernel_stream": True},
    "bleep": {"vision": "cnn", "n_reference": 30},
    "eggn": {"channels": 4, "n_reference": 30},
}


@pytest.mark.parametrize("denoise", [False, True], ids=["as measured", "denoised"])
@pytest.mark.parametrize("statistics", [False, True], ids=["from patches", "statistics known"])
@pytest.mark.parametrize("name", REMEMBERS)
def test_what_is_kept_of_training_spots_is_the_same_without_reading_a_section_whole(
    build: Callable[..., SectionDataModule],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    statistics: bool,
    denoise: bool,
) -> None:
    monkeypatch.setattr("hist2st_pyg.models.kernel_stream.KERNEL_SPOTS", 30)
    monkeypatch.setattr("hist2st_pyg.image.stain.SAMPLE_SPOTS", 20)  # tells a section's moments
    monkeypatch.setattr("hist2st_pyg.models.section_moments.PATCHES_AT_ONCE", 7)
    found = []
    for streamed in (False, True):
        module = build(streamed, val_share=0.3, denoise=denoise)
        if not statistics:
            for section in module.parts("train"):
                del section.data.statistics
        torch.manual_seed(0)
        model = MODELS[name](13, patch_size=14, n_scales=2, **REMEMBERS[name])
        with monkeypatch.context() as patch:
            if streamed:
                patch.setattr(StreamedSection, "whole", lambda section: pytest.fail("a section is read whole"))
            fit_to_sections(model, module, TrainingConfig(n_views=0, standardize=True, denoise=denoise))
        found.append({key: value for key, value in model.state_dict().items() if not key.startswith("pixel_")})
    (kept,) = (len(value) for key, value in found[0].items() if key in ("kernel.spots", "reference"))
    assert kept == 30  # of 76 that train
    rounding = 1e-5 if denoise else 0  # of denoised targets, where sections are not held together
    torch.testing.assert_close(found[1], found[0], rtol=rounding, atol=10 * rounding)


@pytest.mark.parametrize("name", ["ridge", "position_knn", "mean"])
def test_models_fitted_at_once_take_streamed_sections_whole(cohort: list[Section], tmp_path: Path, name: str) -> None:
    data = {"train": ["A1", "A2"], "val": ["B1"], "patch_size": 14, "n_genes": 10, "window": 20}
    scores = []
    for spots in (1000, 10):
        config = preset_config("small", data, {"name": name}, output=str(tmp_path / str(spots)), wandb="off")
        with streamed_from(spots):
            scores.append(read_json(train(config, cohort) / "summary.json")["val_pcc"])
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
