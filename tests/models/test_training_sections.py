"""The sections of training in a model's files, and in words."""

from __future__ import annotations

from typing import Any

import pytest

from hist2st_pyg.models.training_sections import read_training_sections


@pytest.mark.parametrize(
    "sections",
    [
        None,
        ["A1"],
        "A1",
        {"train": None},
        {"train": "A1"},
        {"train": {"A1": 1}},
        {"train": [None]},
        {"train": [3]},
        {"train": [""]},
        {"train": [{}]},
        {"train": [{"name": "A1"}]},
        {"train": [{"name": 1, "patient": "A", "patient_source": "dataset"}]},
        {"train": [{"name": "A1", "patient": 2, "patient_source": "dataset"}]},
        {"train": [{"name": "A1", "patient": "A", "patient_source": ["dataset"]}]},
        {"train": [{"name": "A1", "patient": "A", "patient_source": "a friend"}]},
    ],
)
def test_training_sections_of_other_types_are_refused(sections: Any) -> None:
    with pytest.raises(ValueError, match=r"model: (a section of )?training_sections "):
        read_training_sections(sections, "model")
