"""Which sections and stripes a run reads, and how their patients are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from _helpers.tiny_runs import tiny
from _helpers.words import words

from hist2st_pyg import Section, load_model, train
from hist2st_pyg.section import SectionRecord
from hist2st_pyg.training import DataConfig, TrainConfig, read_sections, run_data
from hist2st_pyg.training.preparation import make_datamodule

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
    card = words((run / "model" / "README.md").read_text())
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
        ({"stripes": "t1v"}, "must consist of letters, one per stripe, got 't1v'"),
        ({"stripes": ""}, "must consist of letters, one per stripe, got ''"),
        ({"stripes": "tttv" + 45 * "t" + "h"}, "Section 'A1': the stripes 'v' of 'tttvt+h' hold no spot"),
        ({"n_genes": 13}, "share 12 genes, fewer than the panel's 13"),
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
    with pytest.raises(FileNotFoundError, match=r"There is no .*config\.yaml, the configuration of a run"):
        run_data(tmp_path)
    for text, message in (("[]", "got list"), ("model: {}", "'data'"), ("data: {neighbors: 4}", "neighbors")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ValueError, match=f"config.yaml is not the configuration of a run: .*{message}"):
            run_data(tmp_path)


def test_embeddings_of_stripes_are_those_of_their_section(tmp_path: Path) -> None:
    (whole,) = read_sections(DataConfig(options=SYNTHETIC), ["A1"])
    values = np.random.default_rng(0).normal(size=(len(whole), 5)).astype(np.float32)
    (tmp_path / "uni").mkdir()
    np.savez(tmp_path / "uni" / "A1.npz", embeddings=values, names=np.array(whole.adata.obs_names, dtype=str))
    data = DataConfig(options=SYNTHETIC, stripes="tv", embedding=str(tmp_path / "uni"))
    by_name = dict(zip(whole.adata.obs_names, values, strict=True))
    for part in read_sections(data, ["A1_t", "A1_v"]):
        np.testing.assert_array_equal(part.adata.obsm["uni"], [by_name[name] for name in part.adata.obs_names])
