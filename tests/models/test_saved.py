"""Saving uses nothing of a model but what ``SavedModel`` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from _helpers.saved_models import small
from typing_extensions import get_protocol_members

from hist2st_pyg import Preprocessing
from hist2st_pyg.models import ExpressionModel
from hist2st_pyg.models.pretrained import save_pretrained
from hist2st_pyg.models.saved import SavedModel
from hist2st_pyg.section import SectionRecord

MEMBERS = get_protocol_members(SavedModel)


class Only:
    """What ``SavedModel`` names of a model, and nothing else of it."""

    def __init__(self, model: ExpressionModel) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name not in MEMBERS:
            raise AttributeError(f"SavedModel does not name {name!r}")
        return getattr(self._model, name)


def test_a_model_that_shows_no_more_is_saved_as_the_whole_model_is(tmp_path: Path) -> None:
    model = small()
    model.preprocessing = Preprocessing(("A", "B", "C"), patch_size=14)
    model.training_sections = {"train": [SectionRecord("A1", "A", "dataset")], "val": []}
    whole = save_pretrained(model, tmp_path / "whole" / "model")
    only = save_pretrained(type("Hist2ST", (Only,), {"key": "hist2st"})(model), tmp_path / "only" / "model")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (only / name).read_bytes() == (whole / name).read_bytes(), name


def test_every_model_has_what_it_names() -> None:
    model = small()
    assert {name for name in MEMBERS if not hasattr(model, name)} == set()
