"""What cannot be trained is refused before anything is read, and leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hist2st_pyg import MODELS, Section
from hist2st_pyg.training import TrainConfig, preset_config, train
from hist2st_pyg.training import run as training_run
from hist2st_pyg.training.checks import check_config


def small(**changes: Any) -> TrainConfig:
    return preset_config(**{"output": "run", "wandb": "off", "accelerator": "cpu", **changes})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": {"gnn": "gatt"}}, r"Unknown gnn='gatt'\. Choose one of: gat,"),
    ({"model": {"vision": "nope"}}, "Unknown vision='nope'"),
    ({"model": {"gnn_norm": "nope"}}, "Unknown norm='nope'"),
    ({"model": {"likelihood": "nope"}}, "Unknown likelihood='nope'"),
    ({"model": {"name": "nope"}}, "Unknown model='nope'|Unknown model.name='nope'"),
    ({"model": {"name": "stnet"}, "data": {"patch_size": 16}}, "DenseNet-121 needs patches of 29 pixels or more"),
    ({"model": {"vision": "convmixer"}, "data": {"patch_size": 5}}, "stride=7 does not divide patch_size=5"),
    ({"data": {"patch_size": 2}}, r"cannot be trained with these arguments on data\.patch_size=2, .*P at least 3"),
    ({"data": {"window": 1}}, "data.window=1 trains on single spots"),
    (
        {"model": {"name": "stnet"}, "data": {"window": 1, "patch_size": 32}},
        r"data\.window=1, training\.batch_size=1, precision='32-true': Expected more than 1 value per channel",
    ),
    ({"data": {"embedding": "uni"}, "training": {"n_views": 2}}, "Precomputed embeddings have no augmented views"),
    ({"data": {"name": "her3st"}}, "Unknown dataset='her3st'"),
    ({"data": {"normalize_by": "x"}}, "Unknown normalize_by='x'"),
    ({"data": {"split": "x"}}, "Unknown split='x'"),
    ({"data": {"stripes": "1"}}, "A pattern of stripes must consist of letters"),
    ({"data": {"panel": "nowhere.txt"}}, r"There is no file .*nowhere\.txt"),
    (
        {"training": {"patience": 3}},
        r"training\.patience=3 needs validation, which this run lacks; set data\.val",
    ),
    ({"training": {"optimizer": "x"}}, "Unknown optimizer='x'"),
    ({"training": {"lr_scheduler": "x"}}, "Unknown lr_scheduler='x'"),
    ({"training": {"loss": "x"}}, "Unknown loss='x'"),
    ({"wandb": "maybe"}, "Unknown wandb='maybe'"),
    ({"accelerator": "nonsense"}, "accelerator='nonsense', .*is not available: You selected an invalid accelerator"),
    ({"devices": 0}, "devices=0, .*is not available"),
    ({"devices": 10**6}, r"devices=1000000 starts 1000000 processes; this machine allows at most \d+"),
    ({"precision": "16-true"}, r"cannot be trained with these arguments on .*, precision='16-true': mixed dtype"),
    ({"precision": "7"}, "precision='7' is not available: Precision '7' is invalid"),
    ({"output": "a/file"}, "a/file cannot be written: there is a file where its folder has to be"),
    ({"output": "a/file/run"}, "a/file/run cannot be written: there is a file where its folder has to be"),
    ({"data": {"cache": "a/file"}}, "a/file cannot be written"),
    ({"output": ""}, "output is empty"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_right_is_refused_first_and_leaves_nothing(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("the data are read")

    monkeypatch.setattr(training_run, "make_datamodule", read)
    Path("a").mkdir()
    Path("a/file").write_text("mine")
    with pytest.raises((ValueError, OSError), match=message):
        train(small(**changes))
    assert [str(path) for path in Path().rglob("*")] == ["a", "a/file"]


def test_a_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(ValueError, match=r"accelerator='cuda', .*is not available: `CUDAAccelerator` can not run"):
        check_config(small(accelerator="cuda"))


def test_a_learning_rate_that_cannot_be_meant() -> None:
    with pytest.raises(ValueError, match=r"training\.lr must be at most 1000, got 1e\+30"):
        small(training={"lr": 1e30})


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_passes_and_no_random_number_is_drawn(name: str) -> None:
    vision = {"vision": "linear", "vision_kwargs": {}} if name == "embedding_ridge" else {}
    before = torch.get_rng_state()
    check_config(small(model={"name": name, **vision}))
    assert torch.equal(torch.get_rng_state(), before)
    assert not os.listdir()


def test_what_is_downloaded_is_not_asked_for_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are fetched")

    monkeypatch.setattr("hist2st_pyg.nn.densenet._download", download)
    monkeypatch.setattr("hist2st_pyg.nn.foundation.fetch_image_model", download)
    check_config(small(model={"name": "stnet"}))
    check_config(small(model={"vision": "phikon"}))


def test_a_failed_start_leaves_what_was_there(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the data, after the folder was made."""
    config = small(data={"test": ["B9"]}, output="new/run")
    with pytest.raises(ValueError, match="no section 'B9'"):
        train(config, cohort)
    assert not Path("new").exists()
    Path("new/run").mkdir(parents=True)
    Path("new/run/notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no section 'B9'"):
        train(config, cohort)
    assert [path.name for path in Path("new/run").iterdir()] == ["notes.txt"]
