"""A model runs on a device, and is afterwards as and where it was."""

from __future__ import annotations

import pytest
import torch
from _helpers.preset_models import model
from torch_geometric.data import Data

from hist2st_pyg import Section
from hist2st_pyg.data import SectionData
from hist2st_pyg.inference import blocks, run_model, running
from hist2st_pyg.inference.running import find_device
from hist2st_pyg.models import ExpressionModel


def test_model_and_data_stay_on_their_device(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains and draws goes on with both after a prediction on a GPU; meta tensors stand for the GPU's."""
    built = model()
    assert built.preprocessing is not None
    data = built.preprocessing.input_data(cohort[0])
    moves = []

    def to(device: object) -> ExpressionModel:
        moves.append(str(device))
        return built

    def forward(moved: Data) -> dict[str, torch.Tensor]:
        assert {value.device.type for _, value in moved if isinstance(value, torch.Tensor)} == {"meta"}
        return {"expression": torch.zeros(2)}

    for module in (blocks, running):
        monkeypatch.setattr(module, "find_device", str)  # which refuses meta
    monkeypatch.setattr(built, "to", to)
    monkeypatch.setattr(built, "forward", forward)
    run_model(built.train(), data, "meta")
    assert moves == ["meta", "cpu"]
    assert built.training
    assert {value.device.type for _, value in data if isinstance(value, torch.Tensor)} == {"cpu"}


@pytest.mark.parametrize("device", ["mps", "gpu", "foo", "meta", "", "cuda:99", "cuda:x", "xla", "hpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=rf"^device='{device}': .*; choose 'auto'.* or 'cpu'\.$"):
        find_device(device)


def test_devices_that_are_there() -> None:
    assert find_device("cpu") == "cpu"
    assert find_device("auto") in {"cpu", "cuda"}


def test_the_model_stays_as_it_was(cohort: list[Section]) -> None:
    built = model().train()
    assert built.preprocessing is not None
    run_model(built, built.preprocessing.to_data(cohort[0]))
    assert built.training


def test_an_error_leaves_the_model_as_it_was_too(monkeypatch: pytest.MonkeyPatch) -> None:
    built = model("mean").train()

    def broken(data: Data) -> dict[str, torch.Tensor]:
        assert not built.training
        raise OSError("the disk is gone")

    monkeypatch.setattr(built, "forward", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        run_model(built, SectionData(x=torch.zeros(1, 1)), "cpu")
    assert built.training


def test_the_output_is_in_single_precision_and_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    built = model("mean")
    weight = torch.ones(2, requires_grad=True)
    monkeypatch.setattr(built, "forward", lambda data: {"a": weight.double() * 2, "b": weight.half()})
    out = run_model(built, SectionData(x=torch.zeros(1, 1)), "cpu")
    assert {(value.dtype, value.requires_grad) for value in out.values()} == {(torch.float32, False)}
    assert out["a"].tolist() == [2, 2]
