"""The command that makes the packaged models, and what of theirs is committed beside the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks import packaged_models as command
from benchmarks.packaged_recipes import RECIPES, Recipe
from hist2st_pyg import load_model
from hist2st_pyg.models.card import model_card
from hist2st_pyg.models.packaged import FOLDER, packaged_models
from hist2st_pyg.models.pretrained import describe

NAMES = list(packaged_models())


def record_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((command.RESULTS / "packaged" / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_model_is_that_of_its_record(name: str) -> None:
    record, recipe = record_of(name), RECIPES[name]
    assert recipe.license is not None
    assert record["sha256"] == packaged_models()[name].sha256
    assert not record["versions"]["code"].endswith("-dirty")
    assert record["half_precision"]["largest"] < 0.01
    assert record["half_precision"]["lowest_pcc"] > 0.999
    model = load_model(name)
    assert [each.name for each in model.training_sections["train"]] == list(recipe.sections)
    assert (model.config["n_genes"], record["parameters"]) == (
        packaged_models()[name].genes,
        sum(parameter.numel() for parameter in model.parameters()),
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_card_and_index_are_those_of_the_result_files(name: str) -> None:
    model, recipe, entry = load_model(name), RECIPES[name], packaged_models()[name]
    found = command.held_out(recipe)
    assert not found[0].seen or len(found) == 1
    facts = command.card(recipe, entry.genes, found, record_of(name))
    text = model_card(model, describe(model), name, kept="package", **facts)
    assert (FOLDER / name / "README.md").read_text(encoding="utf-8") == text
    assert (entry.pcc, entry.ceiling) == (round(float(np.mean(found[0].pcc)), 4), round(found[0].ceiling, 4))


def test_the_committed_table_is_that_of_the_result_files() -> None:
    text = command.PAGE.read_text(encoding="utf-8")
    assert command.with_table(text, command.table(), command.START) == text


def test_each_recipe_is_the_preset_on_whole_sections_of_the_grid() -> None:
    for name, recipe in RECIPES.items():
        config = command.config_of(name, recipe, None, Path("work"))
        assert (config.preset, config.data.stripes, config.data.val, config.data.test) == ("small", None, [], [])
        assert config.data.train == list(recipe.sections)
        assert {each.test for each in command.held_out(recipe)}


# A whole run on made sections.


@pytest.fixture
def made(grid: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Recipe, Path]:
    """A recipe on made sections, the results of its grid, and a command that knows nothing else."""
    grid |= {"split": "explicit_sections", "seeds": [0], "models": {"small": grid["models"]["tiny"]}}
    grid["training"] = {"epochs": 1}
    grid["data"]["val_share"] = 0
    grid["datasets"]["made"] |= {"folds": {"x": {"train": ["A1", "A2"], "test": ["B1"]}}}
    del grid["datasets"]["made"]["sections"]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    for model, pcc in (("small", 0.25), ("ridge_neighbors", 0.2)):
        cell = {
            "sections": {"train": ["A1", "A2"], "test": ["B1"]},
            "patients": {"train": ["A"], "test": ["B"]},
            "metrics": {"pcc_mean": pcc, "ceiling_pcc_mean": 0.5},
        }
        path = tmp_path / "results" / "accuracy" / "made" / "explicit_sections" / "x" / model / "0.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(cell))
    recipe = replace(RECIPES["mob-small"], dataset="made", sections=("A1", "A2", "B1"), folds=("x",))
    monkeypatch.setattr(command, "GRID", tmp_path / "test.yaml")
    monkeypatch.setattr(command, "RECIPES", {"made-small": recipe, "other": replace(recipe, license=None)})
    return recipe, tmp_path


def test_a_model_is_made_recorded_and_can_be_made_anew(
    made: tuple[Recipe, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = made
    places = [f"--{name}={folder / name}" for name in ("output", "results", "work")]
    assert command.main(["--only", "made-small", *places]) == 0
    assert "PCC 0.250 on B1, an animal never seen" in capsys.readouterr().out
    assert list(json.loads((folder / "output" / "index.json").read_text())) == ["made-small"]
    record = json.loads((folder / "results" / "packaged" / "made-small.json").read_text())
    assert 0 < record["half_precision"]["largest"] < 0.1
    model = load_model(folder / "output" / "made-small")
    assert [each.name for each in model.training_sections["train"]] == ["A1", "A2", "B1"]
    files = {path.name: path.read_bytes() for path in (folder / "output" / "made-small").iterdir()}
    card = files["README.md"].decode()
    for words in ('h.load_model("made-small")', "| 0.250 |", "| 0.500 |", "| 0.200 |", "license: mit"):
        assert words in card
    assert command.main(["--cards", "--only", "made-small", *places]) == 0
    assert {path.name: path.read_bytes() for path in (folder / "output" / "made-small").iterdir()} == files


def test_what_cannot_be_made_is_said(made: tuple[Recipe, Path], capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = made
    assert command.main(["--only", "other"]) == 2
    assert "The data of other state no license, so it cannot be in the package" in capsys.readouterr().err
    assert command.main(["--only", "none"]) == 2
    assert "Unknown --only='none'. Choose one of: made-small, other." in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"has no result of small on made, split y\."):
        command.held_out(replace(recipe, folds=("y",)), folder / "results")
    with pytest.raises(ValueError, match=r"test\.yaml has no model 'small' on 'elsewhere'"):
        command.config_of("x", replace(recipe, dataset="elsewhere"), None, folder, folder / "test.yaml")


def test_a_model_that_is_too_large_is_not_packaged(made: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = made
    monkeypatch.setattr(command, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"made-small has [\d,]+ bytes in half precision; .* at most 1,000"):
        command.pack("made-small", load_model(NAMES[0]), {}, folder / "output", folder / "results")
    assert not (folder / "output").exists()
