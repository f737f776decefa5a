from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.config import Cell, read_grid
from benchmarks.grid import is_done
from benchmarks.measures import comparable, every_value
from hist2st_pyg import Section
from hist2st_pyg.data.splits import Fold
from hist2st_pyg.datasets.her2st import PAPER_SECTIONS
from hist2st_pyg.training import DataConfig, preset_config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "benchmarks" / "configs"
GRIDS = {  # each committed grid, and where its results are
    path: ROOT / "benchmarks" / "results" / path.relative_to(CONFIGS).parent
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if path.parent.name not in ("paper", "train")
}
PAPER = CONFIGS / "paper" / "her2st.yaml"


def read(values: dict[str, Any], path: Path) -> list[Cell]:
    (path / "made.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return read_grid(path / "made.yaml")


def test_a_grid_is_the_product_of_its_parts(grid_file: Path) -> None:
    cells = read_grid(grid_file)
    assert len(cells) == len({cell.place for cell in cells}) == 2 * 2 * 3
    assert [cell.model for cell in cells[:3]] == ["mean", "ridge_neighbors", "tiny"]
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6
    assert cells[0].fold == Fold("A", ("B1",), (), ("A1", "A2"))
    assert cells[3].fold == Fold("B", ("A1",), ("A2",), ("B1",))
    assert cells[0].result(Path("r")) == Path("r/made/leave_one_patient_out/A/mean/0.json")


def test_folds_by_name_are_those_that_run(grid: dict[str, Any], tmp_path: Path) -> None:
    whole = [cell for cell in read(grid, tmp_path) if cell.fold.name == "B"]
    grid["datasets"]["made"]["folds"] = ["B"]
    assert read(grid, tmp_path) == whole != []


def test_every_model_has_the_same_budget_and_sections(grid_file: Path) -> None:
    configs = [cell.config(Path("work")) for cell in read_grid(grid_file)]
    assert {(c.training.epochs, c.training.patience) for c in configs} == {(2, 1)}
    assert {c.data.split for c in configs} == {"test_patient"}
    assert configs[0].data.val_share == 0.2  # one training section: squares validate
    assert configs[3].data.val_share == 0.0
    assert (configs[0].group, configs[0].job_type) == ("tiny", "mean")
    assert configs[2].model["gnn"] == "sage"
    assert configs[2].model["gnn_layers"] == 2  # the preset's


def test_folds_that_leak_need_a_split_that_says_so(grid: dict[str, Any], tmp_path: Path) -> None:
    from benchmarks.cell import run_cell

    grid["datasets"]["made"]["folds"] = {"a": {"train": ["A1"], "test": ["A2"]}}
    (cell, *_) = read({**grid, "split": "explicit"}, tmp_path)
    with pytest.raises(ValueError, match="The patient 'A' is in training and in test"):
        run_cell(cell, tmp_path, tmp_path / "work", "off")
    (cell, *_) = read({**grid, "split": "explicit_sections"}, tmp_path)
    result = json.loads(run_cell(cell, tmp_path / "results", tmp_path / "work", "off").read_text())
    assert result["split"] == "explicit_sections"
    assert result["patients"] == {"train": ["A"], "val": [], "test": ["A"]}


def test_patients_that_are_not_known_are_declared_in_the_grid(grid: dict[str, Any], tmp_path: Path) -> None:
    from benchmarks.cell import run_cell
    from benchmarks.report import report

    made = grid["datasets"]["made"]
    made["sections"] = ["A1", "A2"]  # of one patient, which their files do not say
    del made["patients"]
    values = {**grid, "models": {"mean": {}}, "seeds": [0]}
    with pytest.raises(ValueError, match=r"The patient of 'A1', 'A2' is not known.*\(data.patients: each_section\)"):
        read(values, tmp_path)
    made["patients"] = "each_section"
    cells = read(values, tmp_path)
    assert [cell.fold.test for cell in cells] == [("A1",), ("A2",)]
    for cell in cells:
        result = json.loads(run_cell(cell, tmp_path / "results", tmp_path / "work", "off").read_text())
        assert sorted(result["patient_sources"]["each_section"]) == ["A1", "A2"]
    said = "the user declared each section a separate patient"
    assert said in (tmp_path / "work" / cells[0].place / "model" / "README.md").read_text()
    report(tmp_path / "results", tmp_path / "report", "mean")
    for page in ("report.md", "report.html"):
        text = (tmp_path / "report" / page).read_text()
        assert said in text
        assert "on the other patients" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modles": {}}, r"unknown key 'modles'\. Choose from: data, datasets, models"),
        ({"models": None}, "models must hold a mapping, got NoneType"),
        ({"split": "random"}, "Unknown split in .*='random'"),
        ({"split": "explicit"}, "split='explicit' needs folds"),
        ({"preset": "tiny"}, "Unknown preset in .*='tiny'"),
        ({"models": {"resnet": {}}}, "Unknown model in .*models.resnet='resnet'"),
        ({"models": {"mean": {"seed": 1}}}, r"models.mean: unknown key 'seed'\. Choose from: data, model, training"),
        ({"datasets": {"made": {"name": "synthetic", "folder": "x"}}}, "datasets.made: unknown key 'folder'"),
        ({"datasets": {"nowhere": {}}}, "Unknown dataset='nowhere'"),
    ],
)
def test_what_is_wrong_is_named(grid: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read({**grid, **change}, tmp_path)


@pytest.mark.parametrize("label", ["/tmp/x", "..", ".", "a/b", "../a", "a\\b", ""])
@pytest.mark.parametrize("part", ["models", "datasets"])
def test_a_label_that_leads_out_of_its_folder_is_refused(
    grid: dict[str, Any], tmp_path: Path, label: str, part: str
) -> None:
    entry = {"model": {"name": "mean"}} if part == "models" else grid["datasets"]["made"]
    with pytest.raises(ValueError, match=rf"made\.yaml: {part}: .* cannot name a folder of results"):
        read({**grid, part: {label: entry}}, tmp_path)


def test_a_fold_that_leads_out_of_its_folder_is_refused(grid: dict[str, Any], tmp_path: Path) -> None:
    grid["datasets"]["made"]["folds"] = {"/x/victim": {"train": ["A1"], "test": ["B1"]}}
    with pytest.raises(ValueError, match=r"the fold: '/x/victim' cannot name a folder of results"):
        read({**grid, "split": "explicit"}, tmp_path)


def test_a_grid_names_no_code(grid: dict[str, Any], tmp_path: Path) -> None:
    model = {"model": {"name": "hist2st", "gnn": {"class_path": "subprocess.getoutput", "init_args": {"cmd": "true"}}}}
    with pytest.raises(ValueError, match=r"made\.yaml: models\.a\.model\.gnn names code, 'subprocess\.getoutput'"):
        read({**grid, "models": {"a": model}}, tmp_path)


def test_a_key_twice_is_told(grid: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid) + "seeds: [1]\n")
    with pytest.raises(ValueError, match=r"grid\.yaml, line \d+: duplicate key 'seeds', first in line \d+\."):
        read_grid(path, tmp_path)


def test_a_value_that_cannot_be_meant_is_told_before_anything_runs(grid: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"training\.lr must be above 0, got -1\."):
        read({**grid, "training": {"lr": -1}}, tmp_path)


def test_a_misspelt_field_is_told_before_anything_runs(grid: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="epoch"):
        read({**grid, "training": {"epoch": 3}}, tmp_path)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (["C"], r"Unknown folds in .*datasets\.made='C'\. Choose one of: A, B\."),
        ([], r"folds must list names of folds of split='leave_one_patient_out' \(A, B\), got \[\]"),
        ({"A": {}}, r"got \{'A': \{\}\}; explicit splits take sections by fold\."),
    ],
)
def test_folds_that_the_split_does_not_have_are_refused(
    grid: dict[str, Any], tmp_path: Path, folds: Any, message: str
) -> None:
    grid["datasets"]["made"]["folds"] = folds
    with pytest.raises(ValueError, match=message):
        read(grid, tmp_path)


def test_a_configuration_is_comparable_between_machines(grid_file: Path) -> None:
    cell = read_grid(grid_file)[0]
    assert comparable(cell.config()) == comparable(cell.config(Path("elsewhere"), "offline"))
    other = read_grid(grid_file)[-1]
    assert comparable(cell.config()) != comparable(other.config())


def test_options_at_their_default_and_the_preset_s_name_make_no_other_configuration(grid_file: Path) -> None:
    config = comparable(read_grid(grid_file)[2].config())  # hist2st
    earlier = {**config, "preset": "paper", "data": {**config["data"]}, "model": {**config["model"], "dropout": 0.2}}
    del earlier["data"]["stripes"]  # as if that option had not been there yet
    assert every_value(earlier) == every_value(config)
    for part, change in (("data", {"stripes": "ab"}), ("model", {"dropout": 0.3}), ("training", {"lr": 1.0})):
        assert every_value({**config, part: {**config[part], **change}}) != every_value(config)


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_committed_grids_are_right_and_the_results_theirs(path: Path, real_data: Path) -> None:
    cells = read_grid(path, real_data)
    assert len({cell.place for cell in cells}) == len(cells)
    if path.parent.name not in ("search", "accuracy") or path.stem == "test":
        assert len({cell.seed for cell in cells}) >= 2
    missing = [cell.place for cell in cells if not is_done(cell, GRIDS[path])]
    assert not missing  # a result of another configuration is an error


def test_the_published_protocol_is_a_grid(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    """350 epochs on all spots of 31 sections, tested on the 32nd (Zeng et al. 2022)."""

    def made(data: DataConfig, names: list[str]) -> list[Section]:
        return [replace(cohort[0], name=name, patient=name[0]) for name in names]

    monkeypatch.setattr("benchmarks.config.read_sections", made)
    monkeypatch.setattr("hist2st_pyg.data.splits.refuse_copies", lambda parts: None)  # one section stands for all
    cells = read_grid(PAPER)
    hist2st = [cell for cell in cells if cell.model == "hist2st"]
    assert [cell.fold.name for cell in hist2st] == list(PAPER_SECTIONS)
    for cell in cells:
        config = cell.config()
        assert (config.preset, config.data.val, config.data.val_share, config.data.split) == ("paper", [], 0, "section")
        assert sorted([*config.data.train, *config.data.test]) == list(PAPER_SECTIONS)
    assert hist2st[0].config().training.epochs == 350


@pytest.mark.parametrize("path", [*GRIDS, PAPER], ids=lambda path: path.stem)
def test_no_baseline_is_given_less_image_than_hist2st(path: Path) -> None:
    """Neither smaller patches or fields of view, nor patches that its encoder makes smaller."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for dataset in values["datasets"].values():
        sides: dict[bool, list[int]] = {True: [], False: []}
        fields = set()
        for label, entry in values["models"].items():
            entry = entry or {}
            data = [part.get("data", {}) for part in (values, dataset, entry)]
            config = preset_config(
                values["preset"],
                data={name: value for part in data for name, value in part.items()},
                model={"name": label, **entry.get("model", {})},
            )
            size = (config.model.get("vision_kwargs") or {}).get("size")
            sides[config.model["name"] == "hist2st"].append(min(size or 10**6, config.data.patch_size))
            fields.add((config.data.patch_pitch, config.data.patch_um))
        assert len(fields) == 1
        assert min(sides[False], default=10**6) >= max(sides[True], default=0)
