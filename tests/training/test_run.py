from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from _helpers.offline_runs import read_offline_run
from _helpers.tiny_runs import TINY, tiny
from torch_geometric.nn import SAGEConv

from hist2st_pyg import Section, load_model, train
from hist2st_pyg.section import SectionRecord
from hist2st_pyg.training import preset_config
from hist2st_pyg.training.preparation import make_datamodule


def weights(run: Path) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in load_model(run).state_dict().values()])


def test_run_folder(cohort: list[Section]) -> None:
    run = train(tiny(), cohort)
    assert {path.name for path in run.iterdir()} >= {
        "model", "last.ckpt", "config.yaml", "metrics.csv", "summary.json", "figures",
    }  # fmt: skip
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    for column in ("train/loss", "train/expression", "train/likelihood", "val/pcc", "val/loss"):
        assert sum(bool(row[column]) for row in rows) == 3
    summary = json.loads((run / "summary.json").read_text())
    scores = [float(row["val/pcc"]) for row in rows if row["val/pcc"]]
    assert summary["chosen_epoch"] == int(np.argmax(scores))
    assert summary["val_pcc"] == pytest.approx(max(scores))
    records = [{"name": name, "patient": "A", "patient_source": "dataset"} for name in ("A1", "A2")]
    assert summary["sections"] == {"train": records, "val": []}
    assert {path.name for path in (run / "figures").iterdir()} == {"curves.png", "validation.png"}
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["epochs"] == 3
    model = load_model(run)
    assert model.preprocessing is not None
    assert len(model.preprocessing.genes) == 8
    best = load_model(run / "best.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), best.state_dict().values(), strict=True))


def test_seed_decides_everything(cohort: list[Section]) -> None:
    first, second, other = (
        weights(train(tiny(training={"epochs": 1}, seed=seed, output=name), cohort))
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_an_existing_run_is_not_overwritten_and_can_go_on(cohort: list[Section]) -> None:
    train(tiny(training={"epochs": 2, "lr_scheduler": "step"}), cohort)
    before = weights(Path("run"))
    with pytest.raises(FileExistsError, match="run holds a run; choose another output, resume=True"):
        train(tiny(), cohort)
    assert torch.equal(weights(Path("run")), before)
    run = train(tiny(training={"epochs": 4, "lr_scheduler": "step"}, resume=True), cohort)
    assert json.loads((run / "summary.json").read_text())["epochs"] == 4
    epochs = [row["epoch"] for row in csv.DictReader((run / "metrics.csv").open()) if row["val/pcc"]]
    assert epochs == ["0", "1", "2", "3"]
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 4


def test_test_sections_are_not_read(cohort: list[Section]) -> None:
    blind = Section(cohort[2].name, cohort[2].patient, cohort[2].adata)
    train(tiny(training={"epochs": 1}), [*cohort[:2], blind])


def test_validation_section(cohort: list[Section]) -> None:
    run = train(tiny({"train": ["A1"], "val": ["B1"], "test": []}), cohort)
    assert load_model(run).training_sections == {
        "train": [SectionRecord("A1", "A", "dataset")],
        "val": [SectionRecord("B1", "B", "dataset")],
    }


def test_nothing_validates(cohort: list[Section]) -> None:
    run = train(tiny({"val_share": 0.0}, training={"epochs": 2, "lr_scheduler": "step"}), cohort)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["chosen_epoch"], summary["val_pcc"]) == (1, None)
    last = load_model(run / "last.ckpt").state_dict()
    assert all(torch.equal(value, last[name]) for name, value in load_model(run).state_dict().items())
    assert [path.name for path in run.glob("*.ckpt")] == ["last.ckpt"]
    assert {path.name for path in (run / "figures").iterdir()} == {"curves.png", "training.png"}
    run = train(tiny({"val_share": 0.0}, training={"epochs": 3, "lr_scheduler": "step"}, resume=True), cohort)
    assert json.loads((run / "summary.json").read_text())["chosen_epoch"] == 2


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
        ({"n_genes": 500}, "a panel of 500 is too many"),
    ],
)
def test_what_does_not_fit_is_refused(cohort: list[Section], data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(tiny(data), cohort)


def test_epochs_are_at_least_one(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match=r"training\.epochs is at least 1, got -1"):  # Lightning's "without end"
        train(tiny(training={"epochs": -1}), cohort)
    assert not Path("run").exists()


def test_sections_of_one_patient_when_asked_for(cohort: list[Section]) -> None:
    train(tiny({"train": ["A1"], "val": ["A2"], "split": "section", "test": []}, training={"epochs": 1}), cohort)


def test_paper_preset_with_views(cohort: list[Section]) -> None:
    model = {
        "vision_kwargs": {"channels": 8, "depth": 1}, "transformer_layers": 1, "heads": 2, "dim_head": 8,
    }  # fmt: skip
    config = tiny({"panel": "variable"}, model, {"epochs": 1, "n_views": 2}, preset="paper")
    run = train(config, cohort)
    row = next(row for row in csv.DictReader((run / "metrics.csv").open()) if row["train/distillation"])
    parts = [float(row[f"train/{part}"]) for part in ("expression", "likelihood", "distillation")]
    assert float(row["train/loss"]) == pytest.approx(sum(parts), rel=1e-5)
    assert load_model(run).pixel_mean.eq(0).all()


def test_histogene_trains_by_the_same_task(cohort: list[Section]) -> None:
    config = preset_config(
        "small", data={"n_genes": 8, "patch_size": 28, "test": ["B1"]},
        model={"name": "histogene", "channels": 16, "transformer_layers": 1, "heads": 2, "dim_head": 8},
        training={"epochs": 1}, wandb="off", output="run",
    )  # fmt: skip
    assert type(load_model(train(config, cohort))).__name__ == "HisToGene"


def test_a_class_is_trained_and_asked_for_again(cohort: list[Section]) -> None:
    run = train(tiny(model={"gnn": SAGEConv}, training={"epochs": 1}), cohort)
    with pytest.raises(ValueError, match=r"built with gnn=.*SAGEConv.*pass it again"):
        load_model(run)
    assert isinstance(load_model(run, gnn=SAGEConv).streams[0].gnn.convs[0], SAGEConv)


def test_wandb_run_is_complete_and_offline(cohort: list[Section]) -> None:
    run = train(tiny(wandb="auto"), cohort)
    offline = read_offline_run(run)
    assert len([1 for item in offline.history if "val/pcc" in item]) == 3
    assert any("train/likelihood" in item for item in offline.history)
    assert offline.config["data"]["n_genes"] == 8
    assert offline.artifacts == {"model"}
    assert {path.name.split("_")[0] for path in run.glob("wandb/*/files/media/images/*.png")} == {
        "curves",
        "validation",
    }


def test_a_failed_run_is_closed(cohort: list[Section]) -> None:
    import wandb

    class Broken(SAGEConv):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            if self.training:  # not where it is tried when it is built
                raise RuntimeError("broken layer")
            return super().forward(x, edge_index)

    with pytest.raises(RuntimeError, match="broken layer"):
        train(tiny(model={"gnn": Broken}, wandb="offline"), cohort)
    assert wandb.run is None


def test_the_model_is_written_before_anything_is_drawn_or_uploaded(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    from hist2st_pyg import figures
    from hist2st_pyg.training import run as training_run

    def broken(*_: Any, **__: Any) -> None:
        assert (Path("run") / "summary.json").is_file()
        raise RuntimeError("broken\npicture")

    def untold(*_: Any) -> None:
        raise ValueError("one spot")

    monkeypatch.setattr(figures, "training_curves", broken)
    monkeypatch.setattr(figures, "true_and_predicted", broken)
    monkeypatch.setattr(wandb.Artifact, "add_file", broken)
    monkeypatch.setattr(training_run, "gene_trust", untold)
    run = train(tiny(wandb="offline", training={"epochs": 1}), cohort)
    assert load_model(run).gene_trust == {}
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for line in (
        "The genes' validation scores could not be computed: ValueError: one spot",
        "The training's curves could not be drawn: RuntimeError: broken picture",
        "The map of section 'A1' could not be drawn: RuntimeError: broken picture",
        "wandb did not receive the model in run/model: RuntimeError: broken picture",
    ):
        assert line in told
    assert wandb.run is None


def test_a_section_of_one_spot_does_not_cost_the_model(cohort: list[Section], caplog: pytest.LogCaptureFixture) -> None:
    one = replace(cohort[0], adata=cohort[0].adata[:1].copy())
    train(tiny({"val_share": 0.0, "panel": "variance"}, training={"epochs": 1}), [one, *cohort[1:]])
    assert "The map of section 'A1' could not be drawn" in caplog.text
    assert load_model("run").preprocessing is not None


@pytest.mark.parametrize("part", ["log_metrics", "finalize", "finish"])
def test_wandb_s_errors_cost_a_training_nothing(
    cohort: list[Section], part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(wandb if part == "finish" else WandbLogger, part, broken)
        train(tiny(wandb="offline", training={"epochs": 1}), cohort)
    wandb.finish()
    assert Path("run/summary.json").is_file()
    assert caplog.text.count("the disk is full") == 1


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


def test_augmentation_as_it_stands_in_yaml(cohort: list[Section]) -> None:
    config = tiny(training={"augment": {"jitter": 0.1}})
    assert config.training.augment is not None
    assert config.training.augment.jitter == 0.1


# Denoised targets and single spots.


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


def test_stnet_trains_on_random_batches_of_spots(cohort: list[Section]) -> None:
    """The paper's recipe but for the encoder: 2 sections of 48 spots, all of them, in batches of 32, the last epoch."""
    config = preset_config(
        "paper",
        data={"panel": "variable", "n_genes": 8, "patch_size": 28, "test": ["B1"]},
        model={"name": "stnet", "vision": "cnn", **TINY},
        training={"epochs": 2, "lr": 1e-4},
        wandb="off",
        output="run",
        accelerator="cpu",
    )
    run = train(config, cohort)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["steps"], summary["chosen_epoch"], summary["val_pcc"]) == (2 * 3, 1, None)
    preprocessing = load_model(run).preprocessing
    assert preprocessing is not None
    assert (preprocessing.patch_size, preprocessing.transpose_patches) == (28, False)
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    losses = [float(row["train/expression"]) for row in rows if row["train/expression"]]
    assert losses[-1] < losses[0]
