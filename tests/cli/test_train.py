"""What ``hist2st train`` trains is what it records, however it is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from hist2st_pyg import MODELS, training
from hist2st_pyg.cli import COMMANDS, main, train
from hist2st_pyg.training import TrainConfig, config_dict, preset_config

FILES = {
    "paper.yaml": "preset: paper\n",
    "k.yaml": "data: {k: 9}\n",
    "small.yaml": "preset: small\ndata: {k: 7}\nseed: 3\n",
    "stnet.yaml": "model: {name: stnet}\ntraining: {epochs: 5}\n",
    "heads.yaml": "preset: paper\nmodel: {name: histogene, heads: 2}\n",
    "embedding.yaml": "data: {embedding: uni}\nmodel: {vision: linear}\n",
    "dotted.yaml": "model.name: stnet\n",
    "genes.yaml": "GENE1\nGENE2\n",
    "name.yaml": "name: stnet\n",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The configurations that training is given, which is not run."""
    given: list[TrainConfig] = []

    def train(config: TrainConfig) -> Path:
        given.append(config)
        return Path(config.output or "new")

    monkeypatch.setattr(training, "train", train)
    for name, text in FILES.items():
        Path(name).write_text(text)
    return given


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("paper.yaml", {"preset": "paper"}),
        ("--config paper.yaml", {"preset": "paper"}),
        ("--config=paper.yaml", {"preset": "paper"}),
        ("--preset paper", {"preset": "paper"}),
        ("--preset null --training.lr 0.1", {"preset": None, "training": {"lr": 0.1}}),
        ("--preset=paper --data.k 3", {"preset": "paper", "data": {"k": 3}}),
        ("--data.panel genes.yaml --config paper.yaml", {"preset": "paper", "data": {"panel": "genes.yaml"}}),
        ("--output x.yaml --config=paper.yaml", {"preset": "paper", "output": "x.yaml"}),
        ("paper.yaml --data.panel=genes.yaml", {"preset": "paper", "data": {"panel": "genes.yaml"}}),
        ("--config k.yaml --config paper.yaml", {"preset": "paper", "data": {"k": 9}}),
        ("k.yaml paper.yaml", {"preset": "paper", "data": {"k": 9}}),
        ("paper.yaml small.yaml k.yaml --seed=4", {"data": {"k": 9}, "seed": 4}),
        ("k.yaml --config=small.yaml", {"data": {"k": 7}, "seed": 3}),
        ("small.yaml --config k.yaml", {"data": {"k": 9}, "seed": 3}),
        ("paper.yaml --config small.yaml", {"data": {"k": 7}, "seed": 3}),
        ("--preset paper --config small.yaml", {"preset": "paper", "data": {"k": 7}, "seed": 3}),
        ("--config small.yaml --preset paper", {"preset": "paper", "data": {"k": 7}, "seed": 3}),
        ("--seed 5 --data.k 2 --config=small.yaml", {"data": {"k": 2}, "seed": 5}),
        ("stnet.yaml", {"model": {"name": "stnet"}, "training": {"epochs": 5}}),
        ("--training.epochs 6 --config stnet.yaml", {"model": {"name": "stnet"}, "training": {"epochs": 6}}),
        ("--config=stnet.yaml --model.name=ridge", {"model": {"name": "ridge"}, "training": {"epochs": 5}}),
        ("--model.name hist2st --config stnet.yaml", {"training": {"epochs": 5}}),
        ("--config=heads.yaml", {"preset": "paper", "model": {"name": "histogene", "heads": 2}}),
        ("heads.yaml --preset small", {"model": {"name": "histogene", "heads": 2}}),
        (
            "k.yaml --config heads.yaml",
            {"preset": "paper", "data": {"k": 9}, "model": {"name": "histogene", "heads": 2}},
        ),
        ("--config=embedding.yaml", {"data": {"embedding": "uni"}, "model": {"vision": "linear"}}),
        ("embedding.yaml --data.embedding null", {"model": {"vision": "linear"}}),
        ("--data.embedding=uni --data.patch_um null", {"data": {"embedding": "uni"}}),
        ("--data.patch_um=100", {"data": {"patch_um": 100.0}}),
        ("dotted.yaml", {"model": {"name": "stnet"}}),
        ("--model name.yaml", {"model": {"name": "stnet"}}),
    ],
)
def test_what_is_recorded_is_what_is_used(
    asked: list[TrainConfig], arguments: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Preset, then the files in their order, then the command line; ``preset_config`` is the reference."""
    assert main(["train", *arguments.split()]) == 0
    wanted, (used,) = preset_config(**expected), asked
    assert (used.data, used.training) == (wanted.data, wanted.training)
    assert {name: used.model[name] for name in wanted.model} == wanted.model
    assert {**vars(used), "data": 0, "model": 0, "training": 0} == {
        **vars(wanted),
        "data": 0,
        "model": 0,
        "training": 0,
    }
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["train", *arguments.split(), "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out) == config_dict(used)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--training.epoch", "3"],
        ["train", "--data.spl", "section"],
        ["train", "--model.gnn_l", "3"],
        ["train", "--conf", "paper.yaml"],
        ["train", "--pres=paper"],
        ["evaluate", "run", "--data.sect", "A1"],
        ["predict", "run", "a.png", "--out", "x.h5ad"],
        ["regions", "x.h5ad", "--res", "1"],
        ["demo", "--out", "x"],
    ],
)
def test_abbreviations_are_refused(
    asked: list[TrainConfig], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert f"unrecognized arguments: {arguments[-2] if '=' not in arguments[-1] else arguments[-1]}" in (
        capsys.readouterr().err
    )
    assert not asked


def test_no_command_takes_abbreviations() -> None:
    """``--hel`` is told from ``--help`` by every command."""
    for command in COMMANDS:
        required = ["her2st"] if command == "download" else []
        with pytest.raises(SystemExit) as exit_:
            main([command, *required, "--hel"])
        assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:\n  k: 4\n  k: 5\n", "c.yaml, line 3: duplicate key 'k', first in line 2."),
        ("seed: 1\ndata: {k: 4}\nseed: 2\n", "c.yaml, line 3: duplicate key 'seed', first in line 1."),
        ("data: {options: {spots: 4, 'spots': 5}}\n", "c.yaml, line 1: duplicate key 'spots'"),
        ("training.epochs: 3\ntraining: {epochs: 4}\n", "c.yaml: duplicate key 'training.epochs', once with dots and"),
        ("data: {options: {spots: 4}}\ndata.options.spots: 5\n", "c.yaml: duplicate key 'data.options.spots', once"),
        ("data: [4\nseed: 1\n", "c.yaml, line 2: "),
        ("data:\n\tk: 4\n", "c.yaml, line 2: "),
        ("data: {k: 4\n", "c.yaml, line 2: "),
        ("seed: !!python/object/apply:os.getcwd []\n", "c.yaml, line 1: could not determine a constructor for the tag"),
        ("- 1\n", "c.yaml must hold keys and values, got list."),
        ("", "c.yaml must hold keys and values, got NoneType."),
        ("a: " + "[" * 500, "c.yaml is not YAML: "),
    ],
)
@pytest.mark.parametrize("spelling", [["c.yaml"], ["--seed", "1", "--config=c.yaml"]])
def test_a_file_that_is_wrong_is_told_in_one_line(
    asked: list[TrainConfig], text: str, message: str, spelling: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text(text)
    assert main(["train", *spelling]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"hist2st train: {message}")
    assert error.count("\n") == 1
    assert not asked


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err == "hist2st train: There is no file nowhere.yaml.\n"


def test_a_key_twice_on_the_command_line_or_in_a_part_s_file(
    asked: list[TrainConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data.yaml").write_text("k: 4\nk: 5\n")
    for arguments in (["--data", "data.yaml"], ["--data.options", "{spots: 4, spots: 5}"]):
        with pytest.raises(SystemExit, match="2"):
            main(["train", *arguments])
    assert not asked


EVIL = """
open("ran", "w").close()
from torch_geometric.nn import SAGEConv
class Layer(SAGEConv): pass
def factory(width, out): return SAGEConv(width, out)
"""


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the working folder that leaves a file when it is imported."""
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    Path("evil_of_a_test.py").write_text(EVIL)
    yield "evil_of_a_test"
    sys.modules.pop("evil_of_a_test", None)


CODE = "{class_path: evil_of_a_test.Layer}"
FROM_A_FILE = {
    f"model: {{gnn: {CODE}}}": "model.gnn",
    "model: {gnn: evil_of_a_test.Layer}": "model.gnn",
    "model: {vision: evil_of_a_test.Layer}": "model.vision",
    "model: {gnn_edge_weight: evil_of_a_test.factory}": "model.gnn_edge_weight",
    "model.gnn: evil_of_a_test.Layer": "model.gnn",
    f"model: {{vision_kwargs: {{x: {CODE}}}}}": "model.vision_kwargs.x",
    f"model: {{gnn_kwargs: {{x: [1, {CODE}]}}}}": "model.gnn_kwargs.x.1",
    f"data: {{options: {{spots: {CODE}}}}}": "data.options.spots",
    f"training: {{augment: {CODE}}}": "training.augment",
    f"data: {CODE}": "data",
}


@pytest.mark.parametrize("text", FROM_A_FILE)
@pytest.mark.parametrize("spelling", [["c.yaml"], ["--seed", "1", "--config=c.yaml"]])
def test_a_file_that_names_code_is_refused_before_it_is_imported(
    asked: list[TrainConfig], evil: str, text: str, spelling: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text(text)
    assert main(["train", *spelling]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"hist2st train: c.yaml: {FROM_A_FILE[text]} names code, 'evil_of_a_test.")
    assert "--trust-code" in error
    assert error.count("\n") == 1
    assert not Path("ran").exists()
    assert not asked


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model.gnn", "evil_of_a_test.Layer"],
        ["--model.vision=evil_of_a_test.Layer"],
        ["--model.gnn.class_path", "evil_of_a_test.Layer"],
        ["--model.vision_kwargs.x.class_path=evil_of_a_test.Layer"],
        ["--model.gnn", CODE],
        ["--data.options", f"{{spots: {CODE}}}"],
        ["--model", f"{{gnn: {CODE}}}"],
        ["--model", "{gnn: evil_of_a_test.Layer}"],
        ["--model", "part.yaml"],
        ["--data", CODE],
    ],
)
def test_a_command_line_that_names_code_is_refused_before_it_is_imported(
    asked: list[TrainConfig], evil: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("part.yaml").write_text(f"gnn: {CODE}")
    with pytest.raises(SystemExit, match="2"):
        sys.exit(main(["train", *arguments]))  # as the console script does
    error = capsys.readouterr().err
    assert "names code" in error
    assert "--trust-code" in error
    assert error.count("\n") == 1
    assert not Path("ran").exists()
    assert not asked


@pytest.mark.parametrize("key", ["data", "model", "training", "training.augment", "training.view_augmentation"])
def test_a_part_by_an_import_path_is_not_imported(
    asked: list[TrainConfig], evil: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With and without trust: where keys are expected a class would be of no use."""
    part, _, name = key.partition(".")
    value = f"{{{name}: evil_of_a_test.Layer}}" if name else "evil_of_a_test.Layer"
    Path("c.yaml").write_text(f"{part}: {value}\n")
    for arguments in (["c.yaml"], [f"--{key}", "evil_of_a_test.Layer"], ["c.yaml", "--trust-code"]):
        with pytest.raises(SystemExit, match="2"):
            main(["train", *arguments])
        error = capsys.readouterr().err
        assert "'evil_of_a_test.Layer' is neither a mapping of keys nor the path of a file" in error
        assert error.count("\n") == 1
    assert not Path("ran").exists()
    assert not asked


@pytest.mark.parametrize(
    "arguments",
    [
        ["c.yaml", "--trust-code"],
        ["--trust-code", "--model.gnn", "evil_of_a_test.Layer"],
        ["--model.gnn.class_path=evil_of_a_test.Layer", "--trust-code"],
    ],
)
def test_a_layer_of_one_s_own_is_trained_where_it_is_trusted(
    asked: list[TrainConfig], evil: str, arguments: list[str]
) -> None:
    Path("c.yaml").write_text(f"model: {{gnn: {CODE}}}\n")
    assert main(["train", *arguments]) == 0
    assert asked[0].model["gnn"].__name__ == "Layer"
    assert Path("ran").exists()


def test_trust_is_no_key_of_a_file(asked: list[TrainConfig], capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text("trust_code: true\n")
    with pytest.raises(SystemExit, match="2"):
        main(["train", "c.yaml"])
    assert "trust_code" in capsys.readouterr().err


def test_the_choices_that_take_code_are_those_that_models_take_as_callables() -> None:
    callables = set()
    for build in MODELS.values():
        for cls in build.__mro__:
            hints = get_type_hints(cls.__init__) if "__init__" in vars(cls) else {}
            callables |= {f"model.{name}" for name, hint in hints.items() if "Callable" in str(hint)}
    assert callables == set(train.CODE)
