"""What ``--help`` shows: every key with its default and its choices, which are those of the dictionaries."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hist2st_pyg.cli import COMMANDS, EXAMPLES, command_line, main, yaml_mode
from hist2st_pyg.cli._choices import CHOICES
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.training import AugmentConfig, DataConfig, TrainConfig, TrainingConfig, preset_config


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--help"])
    return capsys.readouterr().out


@pytest.fixture
def of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("of_80_columns")
@pytest.mark.parametrize("model", MODELS)
def test_the_help_of_training_is_short_and_complete(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["train", f"--model.name={model}"], capsys)
    lines = text.splitlines()
    assert len(lines) < 160
    assert max(map(len, lines)) <= 80
    keys = set(re.findall(r"^  --([\w.]+)=", text, flags=re.MULTILINE))
    expected = {f"data.{field.name}" for field in fields(DataConfig)}
    expected |= {f"training.{field.name}" for field in fields(TrainingConfig)} - {"training.view_augmentation"}
    expected |= {f"training.view_augmentation.{field.name}" for field in fields(AugmentConfig)}
    expected |= {field.name for field in fields(TrainConfig)} - {"data", "model", "training"}
    # What data and training give, and ``**arguments``.
    given = {"n_genes", "patch_size", "n_scales", "n_views", "arguments"}
    expected |= {f"model.{name}" for name in ("name", *parameters_of(MODELS[model])) if name not in given}
    assert keys == expected
    assert "0x" not in text
    assert "torch.nn" not in text


@pytest.mark.usefixtures("of_80_columns")
def test_defaults_are_those_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["train"], capsys)
    config = preset_config()
    assert f"--training.epochs={config.training.epochs} " in text
    assert f"--model.gnn={config.model['gnn']} " in text
    assert "--data.window=200 " in text
    assert "--data.root=null " in text
    assert "--training.epochs=350 " in shown(["train", "--preset", "paper"], capsys)


def unwrapped(text: str) -> str:
    return re.sub(r"\n {6,}", " ", text)


TRAINING = [name for name, choice in CHOICES.items() if "." in choice.options[0] or choice.options[0] == "preset"]


@pytest.mark.usefixtures("of_80_columns")
@pytest.mark.parametrize("name", TRAINING)
def test_choices_are_the_keys_of_the_dictionary(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = CHOICES[name]
    values = {**choice.values(), "one_more": None}

    def with_one_more(self: Any) -> Mapping[str, Any]:
        return values if self is choice else original(self)

    original = type(choice).values
    monkeypatch.setattr(type(choice), "values", with_one_more)
    line = re.search(rf"^  --{re.escape(choice.options[0])}=.*$", unwrapped(shown(["train"], capsys)), re.MULTILINE)
    assert line is not None
    assert f"{', '.join(values)}." in line[0]


def test_choices_of_other_commands_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "zarr" in shown(["predict"], capsys)
    assert all(layer in shown(["demo"], capsys) for layer in CHOICES["layers"].values())
    text = unwrapped(shown(["download"], capsys))
    assert "The data set: cscc, her2st." in text


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_ends_with_its_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown([command], capsys)
    examples = import_module(f"hist2st_pyg.cli.{command}").EXAMPLES
    assert text.endswith("".join(["examples:\n", *(f"  {line}\n" for line in examples)]))
    assert text.startswith(f"usage: hist2st {command}")
    assert "--quiet" in text
    assert any(line.startswith(f"hist2st {command}") for line in examples)


LINES = [
    line
    for examples in (EXAMPLES, *(import_module(f"hist2st_pyg.cli.{command}").EXAMPLES for command in COMMANDS))
    for line in examples
    if line.startswith("hist2st")
]


@pytest.mark.parametrize("line", LINES)
def test_each_example_parses(line: str) -> None:
    Path("her2st.yaml").write_text("data: {name: her2st}\n")
    words = shlex.split(line.partition(" > ")[0])[1:]
    arrange = getattr(import_module(f"hist2st_pyg.cli.{words[0]}"), "arrange", None)
    if arrange is not None:
        words[1:] = arrange(words[1:])
    parser, _ = command_line({words[0]: words[1:]}, yaml_mode())
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            parser.parse_args(words)
    else:
        assert parser.parse_args(words)["command"] == words[0]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert re.fullmatch(r"hist2st \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict"], "MODEL, IMAGES, --output or -o (hist2st predict --help)"),
        (["predict", "run", "a.png"], "--output or -o (hist2st predict --help)"),
        (["convert", "a.ckpt"], "--output or -o (hist2st convert --help)"),
        (["download"], "DATASET (hist2st download --help)"),
    ],
)
def test_what_is_missing_is_called_as_a_user_gives_it(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err == f"hist2st {arguments[0]}: the following arguments are required: {told}\n"
