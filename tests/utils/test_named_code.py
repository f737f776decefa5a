"""Code that a configuration names runs only where a user trusts it."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
from torch_geometric.nn import SAGEConv

from hist2st_pyg.utils.named_code import UntrustedCodeError, load_code, refuse_code


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"model": {"gnn": {"class_path": "evil.L"}}}, "model.gnn names code, 'evil.L'"),
        ({"model": {"gnn": "evil.L"}}, "model.gnn names code, 'evil.L'"),
        ({"model.gnn": "evil.L"}, "model.gnn names code, 'evil.L'"),
        ({"data": {"options": {"a": [1, {"class_path": "evil.L", "init_args": {}}]}}}, "data.options.a.1 names code"),
        ({"class_path": None}, "the value names code, None"),
    ],
)
def test_code_is_refused_at_any_depth(values: dict[str, Any], key: str) -> None:
    with pytest.raises(UntrustedCodeError) as refused:
        refuse_code(values, "c.yaml", by_key={"model.gnn"})
    text = str(refused.value)
    assert text.startswith(f"c.yaml: {key}")
    assert text.endswith("Name a key instead, or give --trust-code if you trust it.")


def test_keys_and_dotted_names_of_other_things_are_no_code() -> None:
    refuse_code({"model": {"gnn": "sage", "weights": "a.b"}, "data": {"root": "x.y"}}, "c.yaml", by_key={"model.gnn"})


def test_what_an_alias_repeats_is_walked_once() -> None:
    values: Any = []
    for _ in range(60):  # 2^60 paths lead to the innermost
        values = [values, values]
    refuse_code(values, "c.yaml")


def test_trusted_code_is_loaded_by_each_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_layers_of_a_test.py").write_text("class Layer:\n    def __init__(self, a=1): self.a = a\n")
    found = load_code("own_layers_of_a_test.Layer", "model.gnn")
    assert found.__name__ == "Layer"
    assert load_code({"class_path": "own_layers_of_a_test.Layer"}, "model.gnn") is found
    made = load_code({"class_path": "own_layers_of_a_test.Layer", "init_args": {"a": 3}}, "model.gnn")
    assert isinstance(made, functools.partial)
    assert made().a == 3
    assert load_code("torch_geometric.nn.SAGEConv", "model.gnn") is SAGEConv
    assert load_code("sage", "model.gnn") == "sage"
    assert load_code(None, "model.gnn") is None


@pytest.mark.parametrize("path", ["no_such_module.L", "torch_geometric.nn.NoLayer", ".L"])
def test_code_that_is_not_there_is_told(path: str) -> None:
    with pytest.raises(ImportError, match=rf"model\.gnn: there is no class or function {path}"):
        load_code(path, "model.gnn")
