from __future__ import annotations

import pytest

from hist2st_pyg.cli import main
from hist2st_pyg.cli._choices import CHOICES, LISTED
from hist2st_pyg.models.packaged import packaged_models


@pytest.mark.parametrize("kind", LISTED)
def test_a_line_for_each_choice_says_what_it_is(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    keys = list(CHOICES[kind].values())
    assert [line.split()[0] for line in lines] == keys
    for line, key in zip(lines, keys, strict=True):
        said = line.removeprefix(key).strip()
        assert said.endswith(".")
        assert len(said) > 10
        assert not any(mark in said for mark in ("``", ":class:", ":obj:", "`_"))


def test_without_an_argument_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"models", "layers", "encoders", "datasets", "presets"} <= set(LISTED)
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for kind in LISTED:
        assert f"{kind} (--{CHOICES[kind].options[0]})\n" in out
        assert all(f"  {key} " in out for key in CHOICES[kind].values())


def test_the_packaged_models_are_listed_with_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models"]) == 0
    head, *lines = capsys.readouterr().out.partition("\n\n")[2].splitlines()
    assert head == "packaged models, accepted by name in predict, evaluate, explain and info"
    assert [line.split()[0] for line in lines] == list(packaged_models())
    for line, each in zip(lines, packaged_models().values(), strict=True):
        assert f"{each.species} {each.tissue} " in line
        assert f" {each.genes} genes " in line
        assert line.endswith(f" PCC {each.pcc:.3f} on {each.held_out}.")
    assert main(["list"]) == 0
    assert "\n".join([head, *lines]) in capsys.readouterr().out
    assert main(["list", "layers"]) == 0
    assert head not in capsys.readouterr().out


def test_another_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["list", "genes"])
    error = capsys.readouterr().err
    assert error.startswith("hist2st list: argument kind: invalid choice: 'genes' (choose from ")
    assert error.count("\n") == 1
