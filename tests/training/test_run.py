from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from _helpers.offline_runs import read_offline_run
from pytorch_lightning.callbacks import Timer
from torch_geometric.nn import SAGEConv

from hist2st_pyg import Section, load_model, train
from hist2st_pyg.section import SectionRecord
from hist2st_pyg.training import DataConfig, TrainConfig, preset_config, read_sections, run_data
from hist2st_pyg.training.preparation import make_datamodule

TINY = {"vision_kwargs": {"channels": [8], "out_channels": 16}}


def tiny(
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **run: Any,
) -> TrainConfig:
    return preset_config(
        run.pop("preset", "small"),
        data={"n_genes": 8, "patch_size": 28, "test": ["B1"], "val_share": 0.3, **(data or {})},
        model={**TINY, **(model or {})},
        training={"epochs": 3, "batch_size": 4, **(training or {})},
        **{"wandb": "off", "output": "run", "accelerator": "cpu", **run},
    )


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


@pytest.mark.parametrize("val_share", [0.0, 0.3])
def test_a_time_limit_ends_training_where_an_epoch_ends_and_never_before_the_first(
    cohort: list[Section], val_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = 0.0  # then the time is up in the first step
    monkeypatch.setattr(Timer, "time_elapsed", lambda timer, *_: before if timer.start_time() is None else 60.0)
    config = tiny({"val_share": val_share}, training={"epochs": 3, "batch_size": 1, "max_minutes": 1})
    summary = json.loads((train(config, cohort) / "summary.json").read_text())
    assert (summary["epochs"], summary["steps"]) == (1, 2)
    before = 60.0
    with pytest.raises(ValueError, match=r"max_minutes=1 is over before the first epoch"):
        train(replace(config, output="late"), cohort)
    assert not Path("late", "model").exists()
    assert not Path("late", "summary.json").exists()


def test_patience_ends_training(cohort: list[Section]) -> None:
    model = {"vision": "convmixer", "vision_kwargs": {"channels": 8, "depth": 0}, "gnn": "none", "color_stream": False}
    config = tiny({"val_share": 0.3}, model, {"epochs": 9, "lr": 1e-30, "patience": 2})  # nothing changes
    summary = json.loads((train(config, cohort) / "summary.json").read_text())
    assert (summary["chosen_epoch"], summary["epochs"]) == (0, 3)


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
        "wandb did not get the model in run/model: RuntimeError: broken picture",
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
            r"kept for the test \(data\.test\): A1, A2; kept for validation \(data\.val\): B1\.",
        ),
        ({"test": ["A1"], "blind": True}, r"kept for the test \(data\.test\): A1; without an image: A2, B1\."),
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


# Stripes, a panel by variance, denoised targets.

SYNTHETIC = {"patients": 2, "sections_per_patient": 1, "spots": 64, "genes": 12, "noise_genes": 2}


def test_sections_are_read_in_stripes() -> None:
    whole = read_sections(DataConfig(options=SYNTHETIC))
    parts = read_sections(DataConfig(options=SYNTHETIC, stripes="ttvt"))
    assert [part.name for part in parts] == ["A1_t", "A1_v", "B1_t", "B1_v"]
    assert [part.patient for part in parts] == ["A", "A", "B", "B"]
    for section in whole:
        x = section.pos[:, 0]
        share = (x - x.min()) / (x.max() - x.min())
        held_out = set(section.adata.obs_names[(share >= 0.5) & (share < 0.75)])
        mine = {part.name[-1]: set(part.adata.obs_names) for part in parts if part.name.startswith(section.name)}
        assert mine == {"v": held_out, "t": set(section.adata.obs_names) - held_out}
        assert held_out


def test_named_stripes_are_read() -> None:
    data = DataConfig(options=SYNTHETIC, stripes="tv")
    assert [part.name for part in read_sections(data, ["B1_v"])] == ["B1_v"]
    assert [part.name for part in read_sections(data, ["B1_v", "A1_t", "B1_t"])] == ["B1_v", "A1_t", "B1_t"]
    with pytest.raises(ValueError, match="no section 'B1_x'; there are B1_t, B1_v"):
        read_sections(data, ["B1_x"])
    with pytest.raises(ValueError, match=r"has no section 'C1'\. Available: A1, B1"):
        read_sections(data, ["C1_t"])


def test_patients_of_stripes_are_given_by_whole_sections() -> None:
    data = DataConfig(options=SYNTHETIC, stripes="tv", patients={"A1": "mouse"})
    assert [part.patient for part in read_sections(data)] == ["mouse", "mouse", "B", "B"]


# Patients: of the data set, given, declared, unknown.


def unnamed(sections: Sequence[Section]) -> list[Section]:
    return [replace(section, patient=None) for section in sections]


def test_one_part_needs_no_patients(cohort: list[Section]) -> None:
    module = make_datamodule(tiny({"test": []}), unnamed(cohort))
    assert [section.patient for section in module.sections["train"]] == [None] * 3


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"test": ["B1"]}, "training and of test"),
        ({"test": [], "val": ["B1"]}, "training and of validation"),
        ({"test": ["B1"], "val": ["A2"], "split": "test_patient"}, "training and of test"),
    ],
)
def test_parts_of_unknown_patients_are_refused(cohort: list[Section], data: dict[str, Any], parts: str) -> None:
    split = data.get("split", "patient")
    with pytest.raises(ValueError, match=f"split='{split}' cannot keep patients of {parts} apart") as refused:
        make_datamodule(tiny(data), unnamed(cohort))
    text = str(refused.value)
    assert text.startswith("The patient of 'A1', ")
    assert "'B1'" in text
    for way in ("(data.patients: {A1: PATIENT, ...})", "(data.patients: each_section)", "split='section'"):
        assert way in text


def test_each_way_out_of_unknown_patients(cohort: list[Section]) -> None:
    handed_over = unnamed(cohort)
    given = make_datamodule(tiny({"patients": {"A1": 1, "A2": 1.0, "B1": "2"}}), handed_over).sections
    assert [s.record for s in given["train"]] == [SectionRecord(name, "1", "given") for name in ("A1", "A2")]
    assert given["test"][0].record == SectionRecord("B1", "2", "given")
    declared = make_datamodule(tiny({"patients": "each_section"}), handed_over).sections
    assert [s.record for s in declared["train"]] == [
        SectionRecord("A1", "A1", "each_section"), SectionRecord("A2", "A2", "each_section"),
    ]  # fmt: skip
    anyway = make_datamodule(tiny({"split": "section"}), handed_over).sections
    assert anyway["test"][0].record == SectionRecord("B1", None, "unknown")


def test_a_declaration_does_not_part_what_the_data_set_names(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match="The patient 'A' is in training and in test"):
        make_datamodule(tiny({"train": ["A1"], "test": ["A2"], "patients": "each_section"}), cohort)


@pytest.mark.parametrize("handed_over", [True, False])
def test_given_patients_count_wherever_the_sections_are_from(cohort: list[Section], handed_over: bool) -> None:
    options = {"patients": 2, "spots": 48, "genes": 20, "noise_genes": 4}
    config = tiny({"train": ["A1"], "test": ["B1"], "patients": {"A1": "m", "B1": "m"}, "options": options})
    with pytest.raises(ValueError, match="The patient 'm' is in training and in test"):
        make_datamodule(config, cohort if handed_over else None)


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_patient_of_no_section_is_refused(cohort: list[Section], handed_over: bool) -> None:
    options = {"patients": 2, "spots": 48, "genes": 20, "noise_genes": 4}
    config = tiny({"train": ["A1"], "test": ["B1"], "patients": {"B1x": "A"}, "options": options})
    with pytest.raises(ValueError, match=r"patients names an unknown section 'B1x'\. Choose from: A1, A2, B1"):
        make_datamodule(config, cohort if handed_over else None)


def test_patients_may_be_given_of_sections_that_this_run_does_not_read() -> None:
    data = DataConfig(options=SYNTHETIC, patients={"A1": "m", "B1": "n"})
    assert [section.patient for section in read_sections(data, ["A1"])] == ["m"]


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ("section", "patients must be a mapping section -> patient, or 'each_section', got 'section'"),
        (["A1"], "patients must be a mapping section -> patient, or 'each_section', got"),
        ({"A1": None}, "patients: A1 has no name; omit sections of unknown patient"),
        ({"A1": True}, "patients: A1 must be the name of a patient, got True"),
        ({"A1": ["a", "b"]}, "patients: A1 must be the name of one patient, got"),
    ],
)
def test_patients_that_are_none_are_refused(cohort: list[Section], patients: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_datamodule(tiny({"patients": patients}), cohort)


def test_the_run_says_how_patients_are_known(cohort: list[Section]) -> None:
    run = train(tiny({"patients": "each_section"}, training={"epochs": 1}), unnamed(cohort))
    card = (run / "model" / "README.md").read_text()
    assert "`A1` of patient `A1`; `A2` of patient `A2`." in card
    assert "the user declared each section a separate patient." in card
    record = {"name": "A1", "patient": "A1", "patient_source": "each_section"}
    assert json.loads((run / "summary.json").read_text())["sections"]["train"][0] == record
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["patients"] == "each_section"


def stripes(training: dict[str, Any] | None = None, **data: Any) -> TrainConfig:
    values = {"options": SYNTHETIC, "stripes": "ttvht", "split": "section", "panel": "variance", "n_genes": 5}
    return tiny({**values, "train": ["A1_t"], "val": ["A1_v"], "test": ["A1_h"], **data}, None, training)


def test_stripes_handed_over_are_of_the_patients_of_whole_sections() -> None:
    config = stripes(patients={"A1": "mouse", "B1": "rat"})
    module = make_datamodule(config, read_sections(replace(config.data, patients={}), ["A1_t", "A1_v", "A1_h", "B1_t"]))
    assert [module.sections[part][0].patient for part in ("train", "val", "test")] == ["mouse"] * 3


def test_a_data_module_of_stripes() -> None:
    module = make_datamodule(stripes())
    assert {part: [s.name for s in sections] for part, sections in module.sections.items()} == {
        "train": ["A1_t"], "val": ["A1_v"], "test": ["A1_h"],
    }  # fmt: skip
    (whole,) = read_sections(DataConfig(options=SYNTHETIC), ["A1"])
    spots = [str(name) for sections in module.sections.values() for s in sections for name in s.adata.obs_names]
    assert sorted(spots) == sorted(whole.adata.obs_names)
    # The panel is of the training stripes alone.
    counts = module.sections["train"][0].adata.X.toarray().astype(np.float64)
    variance = np.log10(1 + 1e4 * counts / counts.sum(1, keepdims=True)).var(0)
    assert list(module.preprocessing.genes) == [whole.adata.var_names[i] for i in sorted(np.argsort(variance)[-5:])]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"split": "patient"}, "The patient 'A' is in training and in validation"),
        ({"val": ["A1_x"]}, "no section 'A1_x'; there are A1_h, A1_t, A1_v"),
        ({"val": ["A1"]}, "no section 'A1'; there are A1_h, A1_t, A1_v"),
        ({"stripes": "t1v"}, "made of letters, one a stripe, got 't1v'"),
        ({"stripes": ""}, "made of letters, one a stripe, got ''"),
        ({"stripes": "tttv" + 45 * "t" + "h"}, "Section 'A1': the stripes 'v' of 'tttvt+h' hold no spot"),
        ({"n_genes": 13}, "share 12 genes; a panel of 13 is too many"),
    ],
)
def test_stripes_that_do_not_fit_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_datamodule(stripes(**data))


def test_training_on_stripes() -> None:
    run = train(stripes({"epochs": 1}))
    model = load_model(run)
    assert model.training_sections == {
        "train": [SectionRecord("A1_t", "A", "dataset")],
        "val": [SectionRecord("A1_v", "A", "dataset")],
    }
    assert json.loads((run / "summary.json").read_text())["config"]["data"]["stripes"] == "ttvht"
    data = run_data(run)
    assert data == stripes().data
    assert [part.name for part in read_sections(data, data.test)] == ["A1_h"]


def test_the_data_of_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no .*config\.yaml, which says what a run was trained on"):
        run_data(tmp_path)
    for text, message in (("[]", "got list"), ("model: {}", "'data'"), ("data: {neighbors: 4}", "neighbors")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ValueError, match=f"config.yaml is not the configuration of a run: .*{message}"):
            run_data(tmp_path)


def test_the_data_module_denoises_when_asked_to(cohort: list[Section]) -> None:
    for denoise in (False, True):
        module = make_datamodule(tiny({"n_genes": 20, "panel": "variance"}, {}, {"denoise": denoise}), cohort)
        assert all(("y_denoised" in data) is denoise for data in module.data("train"))
        assert all("y_denoised" not in data for data in module.data("test"))


def test_embeddings_of_stripes_are_those_of_their_section(tmp_path: Path) -> None:
    (whole,) = read_sections(DataConfig(options=SYNTHETIC), ["A1"])
    values = np.random.default_rng(0).normal(size=(len(whole), 5)).astype(np.float32)
    (tmp_path / "uni").mkdir()
    np.savez(tmp_path / "uni" / "A1.npz", embeddings=values, names=np.array(whole.adata.obs_names, dtype=str))
    data = DataConfig(options=SYNTHETIC, stripes="tv", embedding=str(tmp_path / "uni"))
    by_name = dict(zip(whole.adata.obs_names, values, strict=True))
    for part in read_sections(data, ["A1_t", "A1_v"]):
        np.testing.assert_array_equal(part.adata.obsm["uni"], [by_name[name] for name in part.adata.obs_names])


@pytest.mark.parametrize("name", ["hist2st", "histogene", "graph_only"])
def test_a_model_that_reads_other_spots_is_not_trained_on_single_ones(cohort: list[Section], name: str) -> None:
    model = {"name": name, "vision_kwargs": None} if name != "histogene" else {"name": name}
    config = preset_config("small", data={"n_genes": 8, "window": 1, "test": ["B1"]}, model=model, wandb="off")
    with pytest.raises(ValueError, match=rf"data\.window=1 trains each spot alone, but model\.name='{name}' reads"):
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
