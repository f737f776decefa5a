"""Configurations and saved models that name code, as actual files: nothing of it is imported or run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from _helpers.attacks import PROOF, Evil, call, module
from _helpers.faults import run, take

PLACES: list[dict[str, Any]] = [
    {"model": {"gnn": "HERE"}},
    {"model": {"vision": "HERE"}},
    {"model": {"vision_kwargs": {"x": "HERE"}}},
    {"model": {"gnn_kwargs": {"x": "HERE"}}},
    {"model": {"name": "HERE"}},
    {"model": "HERE"},
    {"data": {"options": {"spots": "HERE"}}},
    {"data": {"options": "HERE"}},
    {"data": {"graph_kwargs": {"x": "HERE"}}},
    {"data": {"patients": {"A1": "HERE"}}},
    {"data": "HERE"},
    {"training": {"augment": "HERE"}},
    {"training": {"view_augmentation": "HERE"}},
    {"training": {"loss": "HERE"}},
    {"training": "HERE"},
    {"devices": "HERE"},
    {"output": "HERE"},
]


def filled(value: Any, attack: Any) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, attack) for key, item in value.items()}
    return attack if value == "HERE" else value


@pytest.mark.parametrize("attack", [call, module])
@pytest.mark.parametrize(
    "place",
    [pytest.param(p, marks=[] if i in (0, 2, 6) else [pytest.mark.slow]) for i, p in enumerate(PLACES)],
    ids=lambda place: json.dumps(place).replace('"', ""),
)
def test_a_class_path_in_a_configuration_is_not_imported(
    place: dict[str, Any], attack: Callable[[], Any], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(world, ["tiny.yaml"])
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("evil.yaml").write_text(yaml.safe_dump(filled(place, attack())))
    assert run("train tiny.yaml --config evil.yaml") == 2
    assert not PROOF.exists()
    assert not Path("out").exists()


@pytest.mark.parametrize("key", ["model.gnn", "model.vision", "model.vision_kwargs", "data.options"])
def test_a_class_path_on_the_command_line_is_not_imported(key: str, world: Path) -> None:
    take(world, ["tiny.yaml"])
    assert run(f"train tiny.yaml '--{key}={json.dumps(call())}'") == 2
    assert run(f"train tiny.yaml --{key}.class_path=subprocess.getoutput --{key}.init_args.cmd='touch PROOF'") == 2
    assert not PROOF.exists()


@pytest.mark.parametrize(
    "place", [{"model": {"gnn": "HERE"}}, {"data": {"name": "synthetic", "options": {"x": "HERE"}}}]
)
def test_a_class_path_in_a_run_folder_is_not_imported(place: dict[str, Any], world: Path) -> None:
    take(world, ["run", "tiny.yaml"])
    Path("run/config.yaml").write_text(yaml.safe_dump({"data": {"name": "synthetic"}, **filled(place, call())}))
    run("evaluate run --data.sections [Z9]")
    run("info run")
    run("train tiny.yaml run/config.yaml --output out")
    assert not PROOF.exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [touch PROOF]", "!!python/object/new:os.system [touch PROOF]",
            "!!python/name:os.system", "!!python/module:evilmod"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["train evil.yaml", "evaluate run", "info her --options evil.yaml"])
def test_a_yaml_tag_is_not_run(tag: str, command: str, world: Path) -> None:
    take(world, ["run", "her"])
    module()
    for name in ("evil.yaml", "run/config.yaml"):
        Path(name).write_text(f"data: {{name: synthetic}}\nseed: {tag}\n")
    assert run(command) == 2
    assert not PROOF.exists()


@pytest.mark.parametrize("name", ["gnn", "vision", "position", "likelihood", "gnn_act", "unknown"])
@pytest.mark.parametrize("value", ["os.system", {"class_path": "os.system"}, {"custom": "evilmod.L"}, "evilmod.L"])
def test_a_saved_model_names_no_code(name: str, value: Any, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(world, ["model", "a.png", "s.csv"])
    module()
    monkeypatch.syspath_prepend(str(Path.cwd()))
    described = json.loads(Path("model/config.json").read_text())
    described["arguments"][name] = value
    Path("model/config.json").write_text(json.dumps(described))
    run("info model")
    run("predict model a.png -o out.h5ad --spots s.csv")
    assert not PROOF.exists()


def test_a_saved_model_reads_no_other_weights_and_asks_no_hub(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked the network")

    take(world, ["model"])
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    Path("weights.pth").write_bytes(pickle.dumps(Evil()))
    described = json.loads(Path("model/config.json").read_text())
    for vision, options in (
        ("phikon", {"source": "attacker/repo"}),
        ("phikon", {"source": str(Path("weights.pth").absolute())}),
        ("hf", {"source": "attacker/repo"}),
        ("hf", {"config": {"model_type": "timm_wrapper", "architecture": "hf_hub:attacker/repo"}}),
        ("hf", {"config": {"model_type": "detr", "backbone": "attacker/repo", "use_pretrained_backbone": True}}),
        ("densenet", {"weights": str(Path("weights.pth").absolute())}),
    ):
        described["arguments"] |= {"vision": vision, "vision_kwargs": options}
        Path("model/config.json").write_text(json.dumps(described))
        assert run("info model") == 2
    assert not PROOF.exists()
