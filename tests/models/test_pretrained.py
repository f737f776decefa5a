from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.words import words
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch_geometric.nn import GATv2Conv, SAGEConv

from hist2st_pyg import MODELS, Hist2ST, Preprocessing, load_model
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import ClosedFormModel, ExpressionModel
from hist2st_pyg.models.pretrained import describe
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.section import SectionRecord

P = 14
SMALL: dict[str, dict[str, Any]] = {
    "hist2st": {
        "vision_kwargs": {"channels": 16, "depth": 1, "kernel_size": 3},
        "transformer_layers": 1,
        "heads": 2,
        "dim_head": 8,
        "gnn_layers": 2,
        "n_views": 2,
    },
    "histogene": {"channels": 16, "transformer_layers": 1, "heads": 2, "dim_head": 8},
    "stnet": {"vision": "cnn", "vision_kwargs": {"channels": (8,), "out_channels": 16}},
    "hggep": {
        "vision_kwargs": {"channels": (8,), "out_channels": 16},
        "tiles": 2,
        "channels": 32,
        "transformer_layers": 1,
        "heads": 2,
        "dim_head": 8,
        "lstm_layers": 1,
    },
    "triplex": {"n_scales": 1, "vision_kwargs": {"channels": (8,), "out_channels": 16}, "tiles": 2, "heads": 2},
    "graph_only": {"gnn": "sage", "gnn_layers": 1, "jk": "last"},
    "bleep": {"vision": "cnn", "vision_kwargs": {"channels": (8,), "out_channels": 16}, "channels": 8, "k": 3},
    "eggn": {"channels": 8, "layers": 1, "k": 2},
    "embedding_ridge": {"vision": "cnn", "vision_kwargs": {"channels": (8,), "out_channels": 16}, "components": 4},
    "kernel_ridge": {},
    "ridge": {"per_section": True},
    "ridge_neighbors": {},
    "position_knn": {"k": 3},
    "mean": {},
    "depth_oracle": {},
}


def build(data: SectionData, key: str = "hist2st", **options: Any) -> ExpressionModel:
    """A model as training leaves it: fitted statistics, a preprocessing, BatchNorm that has seen data."""
    torch.manual_seed(0)
    n_genes = data.y.shape[1]
    sizes = {"patch_size": P} if "patch_size" in parameters_of(MODELS[key]) else {}
    model = MODELS[key](n_genes, **{**sizes, **SMALL[key], **options})
    model.pixel_mean.uniform_(100, 200)
    model.pixel_std.uniform_(10, 50)
    model.target_mean.normal_()
    model.target_std.uniform_(0.5, 2)
    model.preprocessing = Preprocessing(
        genes=tuple(f"G{i}" for i in range(n_genes)), patch_size=P, scales=(1.0,), max_distance=1.5
    )
    model.training_sections = {
        "train": [SectionRecord("A1", "GSE1/A", "dataset"), SectionRecord("A2")],
        "val": [SectionRecord("B1", "B1", "each_section")],
    }
    model.remember([data])
    model(data)
    if isinstance(model, ClosedFormModel):
        model.fit([data], [data])
    return model.eval()


def same(first: ExpressionModel, second: ExpressionModel, data: SectionData) -> bool:
    with torch.no_grad():
        a, b = first(data), second(data)
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("key", sorted(MODELS))
def test_a_saved_model_comes_back(data: SectionData, tmp_path: Path, key: str) -> None:
    model = build(data, key)
    folder = model.save_pretrained(tmp_path / "deep" / "model")
    loaded = load_model(folder)
    assert type(loaded) is type(model)
    assert not loaded.training
    assert same(model, loaded, data)
    assert loaded.preprocessing == model.preprocessing
    assert loaded.training_sections == model.training_sections
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    assert same(model, load_model(str(folder.parent)), data)  # a run folder, with the model in it


def test_the_files_are_as_readable_as_any(data: SectionData, tmp_path: Path) -> None:
    folder = build(data).save_pretrained(tmp_path / "model")
    (tmp_path / "plain").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(tmp_path / "plain").stat().st_mode}
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("gnn", ["gat", "pna", "none"])
@pytest.mark.parametrize("likelihood", ["zinb", "nb", None])
def test_choices_come_back(data: SectionData, tmp_path: Path, gnn: str, likelihood: str | None) -> None:
    options = {"gnn": gnn, "likelihood": likelihood, "vision": "cnn", "position": "fourier", "jk": "cat"}
    options["vision_kwargs"] = {"channels": (8,), "out_channels": 16}
    model = build(data, **options)
    assert same(model, load_model(model.save_pretrained(tmp_path / "model")), data)


def test_saving_again_replaces_the_model(data: SectionData, tmp_path: Path) -> None:
    build(data, gnn="gat").save_pretrained(tmp_path)
    second = build(data, gnn="sage")
    second.save_pretrained(tmp_path)
    assert same(second, load_model(tmp_path), data)


def test_without_a_recipe(data: SectionData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Hist2ST(data.y.shape[1], patch_size=P, **SMALL["hist2st"]).eval()
    loaded = load_model(model.save_pretrained(tmp_path))
    assert loaded.preprocessing is None
    assert same(model, loaded, data)


def test_a_class_of_the_users_must_be_passed_again(data: SectionData, tmp_path: Path) -> None:
    model = build(data, gnn=GATv2Conv)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"built with gnn=torch_geometric\..*GATv2Conv.*load_model\(..., gnn=...\)"):
        load_model(tmp_path)
    assert same(model, load_model(tmp_path, gnn=GATv2Conv), data)
    with pytest.raises(ValueError, match="the weights do not fit the model"):
        load_model(tmp_path, gnn=SAGEConv)


def test_the_weight_of_an_edge_comes_back(data: SectionData, tmp_path: Path) -> None:
    models = {weight: build(data, gnn="gcn", gnn_edge_weight=weight) for weight in ("inverse", "gaussian")}
    assert not same(*models.values(), data)
    for name, model in models.items():
        assert same(model, load_model(model.save_pretrained(tmp_path / name)), data)
    folder = build(data, gnn="gcn", gnn_edge_weight=torch.exp).save_pretrained(tmp_path / "own")
    with pytest.raises(ValueError, match=r"built with gnn_edge_weight=.*exp, .* pass it again"):
        load_model(folder)
    assert load_model(folder, gnn_edge_weight=torch.exp).streams[0].gnn.edge_weight is torch.exp


def test_a_lightning_checkpoint_is_read_without_unpickling(data: SectionData, tmp_path: Path) -> None:
    model = build(data)
    state = {f"model.{name}": value for name, value in model.state_dict().items()} | {"other.weight": torch.ones(2)}
    torch.save({"description": describe(model), "state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    loaded = load_model(tmp_path / "last.ckpt")
    assert same(model, loaded, data)
    assert loaded.preprocessing == model.preprocessing


# Files that are damaged, altered or hostile.


@pytest.fixture
def saved(data: SectionData, tmp_path: Path) -> Path:
    return build(data).save_pretrained(tmp_path / "model")


def change_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize("kept", [0, 5, 200, -100])
def test_truncated_weights_are_refused(saved: Path, kept: int) -> None:
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="model: the saved model is damaged"):
        load_model(saved)


def test_a_truncated_config_is_refused(saved: Path) -> None:
    text = (saved / "config.json").read_text()
    (saved / "config.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="model: the saved model is damaged"):
        load_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("streams.0.expression.1.bias"), r"weights do not fit.*Missing key.*expression\.1\.bias"),
        (lambda w: w.update(extra=torch.ones(2)), "weights do not fit.*Unexpected key.*extra"),
        (lambda w: w.update({"streams.0.expression.1.bias": torch.ones(3)}), "weights do not fit.*size mismatch"),
        (
            lambda w: w["streams.0.expression.1.bias"].__setitem__(0, torch.nan),
            r"weight streams\.0\.expression\.1\.bias has.*not finite",
        ),
        (lambda w: w["target_std"].__setitem__(0, torch.inf), "weight target_std has.*not finite"),
    ],
    ids=["missing", "extra", "shape", "nan", "inf"],
)
def test_altered_weights_are_refused(saved: Path, change: Any, message: str) -> None:
    change_weights(saved, change)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_model(saved)


def test_training_spots_of_different_numbers_are_refused(data: SectionData, tmp_path: Path) -> None:
    folder = build(data, "eggn").save_pretrained(tmp_path / "model")
    assert "It holds the measured expression of 12 training spots" in words((folder / "README.md").read_text())
    change_weights(folder, lambda w: w.update(reference_features=w["reference_features"][:-1].clone()))
    with pytest.raises(ValueError, match=r"(?s)weights do not fit.*size mismatch for reference_features"):
        load_model(folder)


def test_an_altered_config_is_refused(saved: Path) -> None:
    arguments = json.loads((saved / "config.json").read_text())["arguments"]
    for values, message in (
        ({"format": 4}, "model format 4 is not supported; this version reads 1, 2 and 3"),
        ({"format": None}, "model format None is not supported; this version reads 1, 2 and 3"),
        ({"model": "other"}, "Unknown model='other'. Choose one of: .*hist2st"),
        ({"arguments": {**arguments, "gnn": "other"}}, "Unknown gnn='other'"),
        ({"arguments": {**arguments, "gnn_layers": 3}}, "the weights do not fit the model"),
    ):
        original = (saved / "config.json").read_text()
        change_config(saved, **values)
        with pytest.raises(ValueError, match=message):
            load_model(saved)
        (saved / "config.json").write_text(original)


def test_the_training_sections_of_an_earlier_version_are_read(saved: Path) -> None:
    """It wrote patient/section, and called a patient that it did not know as the section."""
    saved_then = json.loads((saved / "config.json").read_text())
    sections = {"train": ["GSE1/A/A1", "m/m", "m/m_t", "A1"], "val": ["B/B1"]}
    change_config(saved, format=1, recipe=saved_then["preprocessing"], training_sections=sections)
    assert load_model(saved).training_sections == {
        "train": [
            SectionRecord("A1", "GSE1/A", "unrecorded"),
            SectionRecord("m"),
            SectionRecord("m_t"),
            SectionRecord("A1"),
        ],
        "val": [SectionRecord("B1", "B", "unrecorded")],
    }


def test_a_damaged_description_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    for key in ("model", "arguments", "preprocessing", "training_sections"):
        (saved / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != key}))
        with pytest.raises(ValueError, match=f"the saved model is damaged: its description lacks {key}"):
            load_model(saved)
    (saved / "config.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="the saved model is damaged: its description is not a mapping"):
        load_model(saved)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"PK\x03\x04" + bytes(50),
        pickle.dumps({"a": 1}, 2)[:-3],
        b"\x80\x02e.",
        b"\x80\x02G1.",
        b"\x80\x02h\x07.",
    ],
    ids=["empty", "text", "zip", "cut", "stack", "float", "memo"],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read as a checkpoint"):
        load_model(tmp_path / "last.ckpt")


def test_a_truncated_checkpoint_is_refused(data: SectionData, tmp_path: Path) -> None:
    torch.save({"description": describe(build(data)), "state_dict": {}}, tmp_path / "last.ckpt")
    content = (tmp_path / "last.ckpt").read_bytes()
    (tmp_path / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read as a checkpoint"):
        load_model(tmp_path / "last.ckpt")


class _Code:
    """Unpickling it leaves a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_checkpoint_with_code_is_refused(tmp_path: Path, write: Any) -> None:
    write({"description": {"format": 1}, "state_dict": {}, "hook": _Code()}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match=r"evil.ckpt cannot be read as a checkpoint without executing code"):
        load_model(tmp_path / "evil.ckpt")
    assert not Path("executed").exists()


def test_a_pickled_model_is_refused(data: SectionData, tmp_path: Path) -> None:
    torch.save(build(data), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model.pt cannot be read as a checkpoint without executing code"):
        load_model(tmp_path / "model.pt")


def test_what_is_not_a_model_is_refused(data: SectionData, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no model at .*nowhere"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"is not a saved model: it has no config.json and model.safetensors"):
        load_model(tmp_path)
    torch.save(build(data).state_dict(), tmp_path / "weights.pt")
    torch.save({"description": {"format": 1}}, tmp_path / "no_weights.pt")
    for name in ("weights.pt", "no_weights.pt"):
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint of hist2st_pyg"):
            load_model(tmp_path / name)


def test_weights_that_are_not_finite_are_not_saved(data: SectionData, tmp_path: Path) -> None:
    model = build(data)
    model.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.streams[0].expression[1].weight[0, 0] = torch.nan
    with pytest.raises(
        ValueError, match=r"the weight streams\.0\.expression\.1\.weight has values that are not finite"
    ):
        model.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


# Models saved by earlier versions.


@pytest.mark.parametrize("key", ["hist2st", "graph_only"])
def test_a_model_saved_before_the_likelihood_s_form_could_be_chosen_has_the_published_one(
    data: SectionData, tmp_path: Path, key: str
) -> None:
    folder = build(data, key).save_pretrained(tmp_path / "model")
    assert load_model(folder).likelihood.published is False
    arguments = json.loads((folder / "config.json").read_text())["arguments"]
    assert arguments.pop("published_likelihood") is False
    change_config(folder, arguments=arguments)
    assert load_model(folder).likelihood.published is True
