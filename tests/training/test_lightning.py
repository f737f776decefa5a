"""Task and data module with Lightning's own trainer, callbacks and tuner, without ``train``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from pytorch_lightning.tuner import Tuner

import hist2st_pyg as h
from hist2st_pyg.models import MODELS
from hist2st_pyg.training import TrainingConfig, make_datamodule, make_model
from hist2st_pyg.training.fitting import make_trainer

GENES = ("GENE1", "GENE2", "GENE3")
ROOT = Path(__file__).parents[2]


def data_module(cohort: list[h.Section], **options: Any) -> h.SectionDataModule:
    preprocessing = h.Preprocessing(GENES, patch_size=16, k=4)
    return h.SectionDataModule(preprocessing, cohort[:2], test=cohort[2:], **options)


def small_model(**options: Any) -> h.Hist2ST:
    torch.manual_seed(0)
    return h.Hist2ST(
        len(GENES), patch_size=16, vision="linear", vision_kwargs={"out_channels": 8}, transformer_layers=0, **options
    )


def trainer(**options: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "log_every_n_steps": 1}
    return pl.Trainer(**{"accelerator": "cpu", "max_epochs": 2, "enable_model_summary": False, **quiet, **options})


def test_the_four_stages_work_with_the_defaults(cohort: list[h.Section]) -> None:
    model, module, run = small_model(), data_module(cohort), trainer()
    task = h.ExpressionTask(model)
    run.fit(task, datamodule=module)
    assert run.callback_metrics["lr"] == pytest.approx(1e-5)
    (validated,) = run.validate(task, datamodule=module, verbose=False)
    assert set(validated) == {"val/pcc", "val/loss"}
    (tested,) = run.test(task, datamodule=module, verbose=False)
    assert set(tested) == {"test/pcc", "test/loss"}
    (predicted,) = run.predict(task, datamodule=module) or []
    own = h.predict_section(model, cohort[2])  # with the preprocessing that training left in the model
    torch.testing.assert_close(predicted["expression"], torch.from_numpy(own.X), rtol=1e-4, atol=1e-5)
    assert [record.name for record in model.training_sections["train"]] == ["A1", "A2"]


@pytest.mark.slow
def test_the_paper_s_model_trains_with_all_defaults(cohort: list[h.Section]) -> None:
    genes = tuple(cohort[0].adata.var_names[:5])
    module = h.SectionDataModule(h.Preprocessing(genes), cohort[:1], test=cohort[2:])
    task, run = h.ExpressionTask(h.Hist2ST(len(genes))), trainer(max_epochs=1)
    run.fit(task, datamodule=module)
    assert run.test(task, datamodule=module, verbose=False)[0]["test/loss"] > 0


def test_the_task_takes_the_views_of_its_model(cohort: list[h.Section]) -> None:
    task = h.ExpressionTask(small_model(n_views=2))
    assert task.options == TrainingConfig(n_views=2)
    run = trainer(max_epochs=1)
    run.fit(task, datamodule=data_module(cohort))
    assert run.callback_metrics["train/distillation"] > 0


@pytest.mark.parametrize("model", [small_model(), h.HisToGene(3, patch_size=16, channels=8, heads=2)], ids=type)
def test_views_that_a_model_was_not_built_for_are_refused_at_once(model: Any) -> None:
    with pytest.raises(ValueError, match=rf"but the {type(model).__name__} was built without views.*n_views=0"):
        h.ExpressionTask(model, TrainingConfig(n_views=5))


def test_a_panel_of_another_size_is_refused(cohort: list[h.Section]) -> None:
    task = h.ExpressionTask(h.HisToGene(5, patch_size=16, channels=8, heads=2))
    with pytest.raises(ValueError, match=r"predicts 5 genes, the data module's preprocessing has 3"):
        trainer().fit(task, datamodule=data_module(cohort))


def test_a_model_that_no_gradient_trains_says_how_it_is_fitted(cohort: list[h.Section]) -> None:
    model, module = MODELS["ridge"](3), data_module(cohort)
    with pytest.raises(ValueError, match=r"is fitted in closed form, not by a trainer; .*model\.fit\(datamodule\.data"):
        trainer().fit(h.ExpressionTask(model), datamodule=module)
    model.fit(module.data("train"), module.validation())
    (tested,) = trainer().test(h.ExpressionTask(model), datamodule=module, verbose=False)
    assert set(tested) == {"test/pcc", "test/loss"}


def test_genes_that_no_training_section_measured_are_refused(cohort: list[h.Section]) -> None:
    """Their weights would stay as they were drawn; ``train`` leaves such genes out of the panel."""
    genes = ("GENE1", "NOWHERE", "GENE2")
    module = h.SectionDataModule(h.Preprocessing(genes, patch_size=16), cohort[:2], test=cohort[2:])
    with pytest.raises(ValueError, match=r"1 of 3 genes .* in no training section, .*: 'NOWHERE'\. Leave them out"):
        trainer(max_epochs=1).fit(h.ExpressionTask(small_model()), datamodule=module)


def test_without_test_sections_a_test_says_so(cohort: list[h.Section]) -> None:
    module = h.SectionDataModule(h.Preprocessing(GENES, patch_size=16), cohort[:2])
    with pytest.raises(ValueError, match=r"There are no test sections; pass some to SectionDataModule\(..., test="):
        trainer().test(h.ExpressionTask(small_model()), datamodule=module)


def test_the_statistics_are_those_of_make_model(cohort: list[h.Section]) -> None:
    data = {"train": ["A1", "A2"], "n_genes": 3, "patch_size": 16, "scales": [1.0], "stain": "none"}
    model = {"vision": "linear", "vision_kwargs": {"out_channels": 8}, "color_stream": False}
    config = h.preset_config("small", data, model, {"epochs": 1})
    module = make_datamodule(config, cohort)
    made = make_model(config, module)
    plain = h.Hist2ST(**made.config)
    run = trainer(max_epochs=1)
    run.fit(h.ExpressionTask(plain, config.training), datamodule=module)
    for name in ("pixel_mean", "pixel_std", "target_mean", "target_std"):
        assert torch.equal(getattr(plain, name), getattr(made, name)), name
    assert plain.preprocessing == made.preprocessing
    assert plain.training_sections == made.training_sections


def test_a_trained_model_keeps_its_preprocessing_and_statistics(cohort: list[h.Section]) -> None:
    model = small_model()
    model.preprocessing = h.Preprocessing(GENES, patch_size=16, k=2)
    trainer(max_epochs=1).fit(h.ExpressionTask(model, TrainingConfig(standardize=True)), datamodule=data_module(cohort))
    assert model.preprocessing.graph_kwargs == h.Preprocessing(GENES, patch_size=16, k=2).graph_kwargs
    assert not model.target_mean.any()


def checkpoint(cohort: list[h.Section], path: str = "task.ckpt", **options: Any) -> h.ExpressionTask:
    task, run = (
        h.ExpressionTask(small_model(**options), TrainingConfig(lr=1e-3, augment=None, optimizer="adamw")),
        trainer(),
    )
    run.fit(task, datamodule=data_module(cohort))
    run.save_checkpoint(path)
    return task


def test_a_task_comes_from_its_checkpoint_alone(cohort: list[h.Section]) -> None:
    task = checkpoint(cohort)
    loaded = h.ExpressionTask.load_from_checkpoint("task.ckpt")
    assert loaded.options == task.options
    assert loaded.model.preprocessing == task.model.preprocessing
    before, after = (trainer().test(t, data_module(cohort), verbose=False) for t in (task, loaded))
    assert before == after
    trainer(max_epochs=3).fit(loaded, data_module(cohort), ckpt_path="task.ckpt", weights_only=True)
    # With a model at hand, whose class may have no key.
    other = h.ExpressionTask.load_from_checkpoint("task.ckpt", model=small_model(), training=TrainingConfig(lr=1))
    assert (other.lr, trainer().test(other, data_module(cohort), verbose=False)) == (1, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": None}, "has no training options; pass training="),
        ({"training": {"lr": "much"}}, "training: lr must be a number, got 'much'"),
        ({"training": {"lr": -1.0}}, r"lr must be above 0, got -1\.0"),
        ({"training": {"speed": 1}}, "has the unknown key 'speed'"),
        ({"training": {"augment": {"blur": 1.0}}}, "unexpected keyword argument 'blur'"),
    ],
    ids=str,
)
def test_a_checkpoint_without_usable_options_is_refused(
    cohort: list[h.Section], change: dict[str, Any], message: str
) -> None:
    checkpoint(cohort)
    torch.save({**torch.load("task.ckpt", weights_only=True), **change}, "other.ckpt")
    with pytest.raises(ValueError, match=rf"other\.ckpt.*{message}"):
        h.ExpressionTask.load_from_checkpoint("other.ckpt")


CALLBACKS: dict[str, Any] = {
    "early stopping": lambda: callbacks.EarlyStopping("val/pcc", mode="max", patience=1),
    "checkpoint": lambda: callbacks.ModelCheckpoint(".", "best", monitor="val/pcc", mode="max", save_last=True),
    "weight averaging": lambda: callbacks.StochasticWeightAveraging(1e-3, swa_epoch_start=1),
    "learning rate": lambda: callbacks.LearningRateMonitor("step"),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_lightning_s_callbacks_work(cohort: list[h.Section], name: str) -> None:
    callback = CALLBACKS[name]()
    run = trainer(
        callbacks=[callback], logger=pl.loggers.CSVLogger("."), enable_checkpointing=name == "checkpoint", max_epochs=3
    )
    run.fit(h.ExpressionTask(small_model(), TrainingConfig(lr=1e-3)), datamodule=data_module(cohort))
    assert run.current_epoch >= 2
    if name == "checkpoint":
        assert h.predict_section(h.load_model("best.ckpt"), cohort[2]).shape == (len(cohort[2]), len(GENES))
        assert Path("last.ckpt").is_file()
    if name == "learning rate":
        assert run.callback_metrics["lr-Adam"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "options", [{"precision": "bf16-mixed"}, {"fast_dev_run": True}, {"overfit_batches": 1}], ids=str
)
def test_lightning_s_ways_to_run_work(cohort: list[h.Section], options: dict[str, Any]) -> None:
    run, model = trainer(**options), small_model()
    before = model.streams[0].expression[1].weight.clone()  # type: ignore[index]
    run.fit(h.ExpressionTask(model), datamodule=data_module(cohort))
    assert not torch.equal(before, model.streams[0].expression[1].weight)  # type: ignore[index]


def test_the_tuner_finds_a_learning_rate(cohort: list[h.Section]) -> None:
    task = h.ExpressionTask(small_model(), TrainingConfig(lr=1e-5))
    found = Tuner(trainer(max_epochs=40)).lr_find(
        task, data_module(cohort), num_training=40, early_stop_threshold=None, update_attr=True
    )
    assert found is not None
    assert task.lr == found.suggestion() != 1e-5
    assert task.configure_optimizers()["optimizer"].param_groups[0]["lr"] == task.lr


def fitted(cohort: list[h.Section], **options: Any) -> torch.Tensor:
    model = small_model(gnn_dropout=0.2)
    module = data_module(cohort, window=12, batch_size=2, **options)
    trainer().fit(h.ExpressionTask(model, TrainingConfig(lr=1e-3)), datamodule=module)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def test_workers_give_the_same_numbers(cohort: list[h.Section]) -> None:
    assert torch.equal(fitted(cohort), fitted(cohort, num_workers=2))


def test_the_trainer_s_keys_reach_lightning(cohort: list[h.Section]) -> None:
    data = {"train": ["A1", "A2"], "n_genes": 3, "patch_size": 16}
    training = {"accumulate_grad_batches": 3}
    config = h.preset_config("small", data, None, training, strategy="ddp", num_workers=2, accelerator="cpu", devices=1)
    made = make_trainer(config, [], [], validates=False)
    assert (made.accumulate_grad_batches, type(made.strategy).__name__) == (3, "DDPStrategy")
    assert make_datamodule(config, cohort).train_dataloader().num_workers == 2


SCRIPT = """
import sys
import pytorch_lightning as pl
import hist2st_pyg as h
from hist2st_pyg.models import MODELS
from pathlib import Path

if __name__ == "__main__":
    sections = h.load_sections("synthetic", patients=3, sections_per_patient=2, spots=36)
    module = h.SectionDataModule(h.Preprocessing(("GENE1", "GENE2"), patch_size=16), sections[:3], test=sections[4:],
                                 split="section")
    task = h.ExpressionTask(h.Hist2ST(2, patch_size=16, vision="linear", transformer_layers=0))
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, log_every_n_steps=1,
                         enable_progress_bar=False)
    trainer.fit(task, datamodule=module)
    for stage in (trainer.validate, trainer.test):
        (found,) = stage(task, datamodule=module, verbose=False)
        Path(f"{stage.__name__}{trainer.global_rank}.txt").write_text(str(found))
    assert len(trainer.predict(task, datamodule=module)) == 1
"""


@pytest.mark.slow
def test_two_processes_fit_validate_test_and_predict() -> None:
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sync_dist" not in done.stderr
    for stage in ("validate", "test"):
        assert Path(f"{stage}0.txt").read_text() == Path(f"{stage}1.txt").read_text()
