"""A model is saved to a folder and loaded by its class, or by any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.saved_models import same, small
from huggingface_hub import ModelHubMixin
from safetensors.torch import load_file, save_file

from hist2st_pyg import Hist2ST, load_model
from hist2st_pyg.models import ExpressionModel, HisToGene, STNet
from hist2st_pyg.models.simple import Mean


def test_a_folder_is_loaded_by_its_class_or_any(tmp_path: Path) -> None:
    model = small()
    folder = model.save_pretrained(tmp_path / "model")
    for loaded in (Hist2ST.from_pretrained(folder), ExpressionModel.from_pretrained(str(folder))):
        assert type(loaded) is Hist2ST
        assert not loaded.training
        assert same(model, loaded)


def test_a_folder_of_another_class_is_refused(tmp_path: Path) -> None:
    folder = Mean(3).save_pretrained(tmp_path / "mean")
    message = r"mean holds a Mean, not a Hist2ST; load it by Mean\.from_pretrained, or any model by load_model"
    with pytest.raises(ValueError, match=message):
        Hist2ST.from_pretrained(folder)
    with pytest.raises(ValueError, match="holds a Hist2ST, not a STNet"):
        STNet.from_pretrained(small().save_pretrained(tmp_path / "hist2st"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("streams.0.expression.1.bias"), r"weights do not fit.*Missing key.*expression\.1\.bias"),
        (lambda w: w.update(extra=torch.ones(2)), "weights do not fit.*Unexpected key.*extra"),
    ],
    ids=["missing", "extra"],
)
def test_weights_are_loaded_strictly(tmp_path: Path, change: Any, message: str) -> None:
    folder = small().save_pretrained(tmp_path)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Hist2ST.from_pretrained(folder)


class Own(HisToGene):
    """A class that is no key of MODELS."""


def test_a_class_of_the_user_s_loads_itself(tmp_path: Path) -> None:
    model = Own(3, patch_size=14, channels=16, transformer_layers=1, heads=2, dim_head=8)
    folder = model.save_pretrained(tmp_path)
    loaded = Own.from_pretrained(folder)
    assert type(loaded) is Own
    assert same(model, loaded)
    with pytest.raises(ValueError, match="Unknown model='Own'"):
        load_model(folder)


def test_a_factory_is_passed_again(tmp_path: Path) -> None:
    from torch_geometric.nn import SAGEConv

    model = Hist2ST(3, patch_size=14, vision="linear", transformer_layers=0, gnn=SAGEConv, gnn_layers=1)
    folder = model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="was built with gnn="):
        Hist2ST.from_pretrained(folder)
    assert same(model, Hist2ST.from_pretrained(folder, gnn=SAGEConv))


def test_keywords_are_the_mixin_s() -> None:
    import inspect

    for name, ours_alone in (("from_pretrained", {"custom"}), ("push_to_hub", {"overwrite_card"})):
        ours, theirs = (set(inspect.signature(getattr(cls, name)).parameters) for cls in (Hist2ST, ModelHubMixin))
        assert ours - theirs == ours_alone
    ours, theirs = (inspect.signature(cls.save_pretrained).parameters for cls in (Hist2ST, ModelHubMixin))
    assert list(ours)[:2] == list(theirs)[:2]
    assert set(ours) - set(theirs) == {"overwrite_card"}
