"""The models that can be chosen by key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hist2st_pyg.models import MODELS, ExpressionModel, Hist2ST, load_model
from hist2st_pyg.models import __file__ as folder
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.models.simple import Mean


def test_every_class_of_the_folder_with_a_key_can_be_chosen() -> None:
    written: dict[str, str] = {}
    for file in Path(folder).parent.glob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("class "):
                name = re.split(r"\W", line.removeprefix("class "))[0]
            elif line.startswith('    key = "'):
                written[line.split('"')[1]] = name
    assert {key: cls.__name__ for key, cls in MODELS.items()} == written
    assert list(MODELS) == sorted(MODELS)


def test_a_class_of_one_s_own_is_no_choice_but_is_loaded_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExpressionModel, "keyed", dict(ExpressionModel.keyed))

    class Own(Mean):
        key = "own_mean"

    monkeypatch.setitem(ExpressionModel.keyed, "own_mean", Own)
    assert "own_mean" not in MODELS
    assert type(load_model(Own(3).save_pretrained(tmp_path))) is Own


def test_arguments_are_those_of_the_base_class_too() -> None:
    class Own(Hist2ST):
        def __init__(self, n_genes: int, more: int = 7, gnn: str = "gat", **arguments: object) -> None:
            super().__init__(n_genes, gnn=gnn, **arguments)  # type: ignore[arg-type]

    own, base = parameters_of(Own), parameters_of(Hist2ST)
    assert (own.pop("more"), own.pop("gnn"), base.pop("gnn")) == (7, "gat", "hist2st")
    assert {name: value for name, value in own.items() if name != "arguments"} == base
