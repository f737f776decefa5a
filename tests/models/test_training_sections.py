"""The sections of training in a model's files, and in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hist2st_pyg.models.training_sections import (
    describe_sections,
    describe_split,
    earlier_record,
    plain_sections,
    read_training_sections,
)
from hist2st_pyg.section import SectionRecord


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


RECORDS = {
    "train": [SectionRecord("A1", "GSE1/A", "dataset"), SectionRecord("A2", "a`b", "given"), SectionRecord("X")],
    "val": [SectionRecord("B1", "B1", "each_section")],
    "test": [],
}


def test_what_is_written_is_read_again() -> None:
    written = json.loads(json.dumps(plain_sections(RECORDS)))
    assert written["val"] == [{"name": "B1", "patient": "B1", "patient_source": "each_section"}]
    assert read_training_sections(written, "model") == RECORDS


@pytest.mark.parametrize(
    ("text", "name", "patient"),
    [
        ("GSE1/A/A1", "A1", "GSE1/A"),
        ("m/m", "m", None),
        ("m/m_t", "m_t", None),
        ("m/m_tt", "m_tt", "m"),
        ("/A1", "A1", None),
        ("A1", "A1", None),
    ],
)
def test_a_section_of_earlier_versions_has_a_patient_unless_that_is_called_as_it(
    text: str, name: str, patient: str | None
) -> None:
    assert earlier_record(text) == SectionRecord(name, patient, "unknown" if patient is None else "unrecorded")


def test_sections_are_told_by_patient() -> None:
    told = describe_sections(RECORDS).split("\n\n")
    assert told[:2] == [
        "Trained on 3 sections: `A1` of patient `GSE1/A`; `A2` of patient `` a`b ``; `X` of unknown patients.",
        "Validated on 1 section: `B1` of patient `B1`.",
    ]
    assert describe_sections({"train": []}) == "The training sections are not recorded."


def test_a_split_with_a_patient_on_both_sides_names_it_before_unknown_ones() -> None:
    shared = {"train": RECORDS["train"], "val": [SectionRecord("A3", "GSE1/A", "dataset"), SectionRecord("Y")]}
    assert describe_split(shared) == "Validation sections share patients with training: `GSE1/A`."
