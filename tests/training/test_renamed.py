from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hist2st_pyg.cli import main
from hist2st_pyg.models.registry import MODELS, parameters_of
from hist2st_pyg.training import DataConfig, TrainingConfig, preset_config
from hist2st_pyg.training.renamed import RENAMED, refuse_renamed


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_earlier_name_is_refused_by_todays(old: str, new: str, tmp_path: Path) -> None:
    part, _, name = old.partition(".")
    message = rf"the key {old} was renamed to {new}\."
    with pytest.raises(ValueError, match=f"^{message}$"):
        preset_config(**{part: {name: 1}})
    with pytest.raises(ValueError, match=f"^run.yaml: {message}$"):
        refuse_renamed({part: {name: 1}}, "run.yaml")
    with pytest.raises(ValueError, match=f"^{message}$"):
        refuse_renamed({f"{old}.deeper": 1})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_todays_names_are_known_and_the_earlier_ones_not(old: str, new: str) -> None:
    known = {f"data.{field.name}" for field in fields(DataConfig)}
    known |= {f"training.{field.name}" for field in fields(TrainingConfig)}
    known |= {f"model.{name}" for name in parameters_of(MODELS["hist2st"])}
    assert new in known
    assert old not in known


@pytest.mark.parametrize("how", ["file", "option"])
def test_the_command_line_says_so_too(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.yaml").write_text("data: {total: all}\n")
    assert main(["train", "old.yaml"] if how == "file" else ["train", "--data.total=all"]) == 2
    where = "old.yaml: " if how == "file" else ""
    assert f"{where}the key data.total was renamed to data.normalize_by." in capsys.readouterr().err
    assert not Path("runs").exists()
