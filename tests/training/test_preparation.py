"""From a configuration to its data and its model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _helpers.tiny_runs import tiny

from hist2st_pyg import Section, train
from hist2st_pyg.training import preset_config
from hist2st_pyg.training.preparation import make_datamodule


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


def test_the_data_module_denoises_when_asked_to(cohort: list[Section]) -> None:
    for denoise in (False, True):
        module = make_datamodule(tiny({"n_genes": 20, "panel": "variance"}, {}, {"denoise": denoise}), cohort)
        assert all(("y_denoised" in data) is denoise for data in module.data("train"))
        assert all("y_denoised" not in data for data in module.data("test"))


@pytest.mark.parametrize("name", ["hist2st", "histogene", "graph_only"])
def test_a_model_that_reads_other_spots_is_not_trained_on_single_ones(cohort: list[Section], name: str) -> None:
    model = {"name": name, "vision_kwargs": None} if name != "histogene" else {"name": name}
    config = preset_config("small", data={"n_genes": 8, "window": 1, "test": ["B1"]}, model=model, wandb="off")
    with pytest.raises(ValueError, match=rf"data\.window=1 trains each spot alone, but model\.name='{name}' reads"):
        train(config, cohort)
