from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hist2st_pyg import MODELS, Preprocessing, load_model
from hist2st_pyg.models import ExpressionModel
from hist2st_pyg.models.pretrained import describe
from hist2st_pyg.nn import densenet, foundation
from hist2st_pyg.section import SectionRecord

G, P = 5, 14
SMALL = {
    "vision_kwargs": {"channels": 16, "depth": 1, "kernel_size": 3},
    "transformer_layers": 1,
    "heads": 2,
    "dim_head": 8,
    "gnn_layers": 2,
}


def saved_model(folder: Path, key: str = "hist2st", **options: Any) -> Path:
    torch.manual_seed(0)
    options = {"patch_size": P, **(SMALL if key == "hist2st" else {}), **options}
    model = MODELS[key](G, **options)
    model.preprocessing = Preprocessing(genes=tuple(f"G{i}" for i in range(G)), patch_size=options["patch_size"])
    model.training_sections = {"train": [SectionRecord("A1", "A", "dataset")]}
    return model.save_pretrained(folder)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("original") / "model")


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "shared"))


def change(folder: Path, part: str, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, part: {**config[part], **values}}))


def refusal(source: Path) -> str:
    """The one line that refuses a model; it names the model first."""
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as caught:
        load_model(source)
    text = str(caught.value)
    assert text.startswith(str(source))
    assert len(text) < 1500
    return text


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("n_genes", 10**10, "n_genes is 10000000000, but the weight target_mean is [5]"),
        ("n_genes", 0, "n_genes is 0, but the weight target_mean is [5]"),
        ("n_genes", "5", "n_genes must be a whole number, got '5'"),
        ("n_genes", True, "n_genes must be a whole number, got True"),
        ("n_genes", None, "n_genes must be a whole number, got None"),
        ("n_scales", 10**9, "n_scales is 1000000000, but the weight pixel_mean is [3]"),
        ("n_pos", 10**9, "(the largest number is n_pos=1000000000)"),
        ("n_pos", 10**15, "(the largest number is n_pos=1000000000000000)"),
        ("n_pos", -1, "n_pos must be at least 1, got -1"),
        ("gnn_layers", 10**7, "it asks for more than 1,124 weights; its file holds less (the largest number is gnn_la"),
        ("gnn_layers", "many", "gnn_layers must be a whole number, got 'many'"),
        ("transformer_layers", 10**7, "it asks for more than 1,124 weights"),
        ("dim_head", 10**9, "(the largest number is dim_head=1000000000)"),
        ("mlp_channels", 10**10, "(the largest number is mlp_channels=10000000000)"),
        ("vision_kwargs", {"channels": 8 * 10**6}, "Conv2d.weight is [8000000, 3, 7, 7]); its file holds less"),
        ("vision_kwargs", {"channels": 8 * 10**6}, "(the largest number is vision_kwargs.channels=8000000)"),
        ("vision_kwargs", {"depth": 10**7}, "it asks for more than 1,124 weights"),
        ("vision_kwargs", {"stride": 0}, "by zero"),
        ("vision_kwargs", [], "vision_kwargs must be a mapping or null, got []"),
        ("vision_kwargs", {"weights": "/etc/passwd"}, "vision_kwargs of 'convmixer' has the unknown key 'weights'"),
        ("vision_kwargs", {"x": {"class_path": "os.system"}}, "vision_kwargs of 'convmixer' has the unknown key 'x'"),
        ("patch_size", 7 * 10**9, "patch_size gives patch_size=14, the model has patch_size=7000000000"),
        ("patch_size", [14], "patch_size must be a whole number, got [14]"),
        ("gnn", {"class_path": "subprocess.getoutput", "init_args": {"cmd": "id"}}, "gnn must be text, got {'class_pa"),
        ("gnn", "os.system", "Unknown gnn='os.system'. Choose one of: "),
        ("gnn_act", "os.system", "Could not resolve 'os.system'"),
        ("gnn_kwargs", {"aggr": "os.system"}, "Unknown aggr='os.system'"),
        ("gnn_kwargs", {"nope": 1}, "unexpected keyword argument 'nope'"),
        ("vision", {"class_path": "os.system"}, "vision must be text, got {'class_path'"),
        ("heads", "a", "heads must be a whole number, got 'a'"),
        ("heads", 0, "heads must be at least 1, got 0"),
        ("dropout", 7, "dropout must be at least 0 and below 1, got 7"),
        ("dropout", None, "dropout must be a number, got None"),
        ("likelihood", {}, "likelihood must be text or null, got {}"),
        ("gnn_residual", "yes", "gnn_residual must be true or false, got 'yes'"),
        ("nope", 1, "arguments has the unknown key 'nope'; known keys are attention, "),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(saved: Path, argument: str, value: Any, message: str) -> None:
    change(saved, "arguments", **{argument: value})
    assert message in refusal(saved)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("genes", None, "genes must be a list of values that are each text, got None"),
        ("genes", "GENE1", "genes must be a list of values that are each text, got 'GENE1'"),
        ("genes", [1, 2, 3, 4, 5], "genes must be a list of values that are each text, got [1, 2, 3, 4, 5]"),
        ("genes", ["a", "b", "c", "d", "a"], "gene 'a' is in the panel twice"),
        ("genes", ["a", "b", "c", "d", ""], "genes must hold names, got ''"),
        ("genes", ["a"], "the panel has 1 genes, the model 5"),
        ("genes", [], "the gene panel is empty"),
        ("scales", [1, 2], "scales gives n_scales=2, the model has n_scales=1"),
        ("scales", 1, "scales must be a list of values that are each a number, got 1"),
        ("scales", [], "scales must hold at least one number"),
        ("patch_size", -3, "patch_size must be at least 1, got -3"),
        ("patch_size", 10**6, "patch_size must be at most 4096 pixels, got 1000000"),
        ("patch_size", 21, "patch_size gives patch_size=21, the model has patch_size=14"),
        ("patch_size", "14", "patch_size must be a whole number, got '14'"),
        ("patch_um", -1, "patch_um must be from 0.1 to 100000, got -1"),
        ("k", 0, "k must be at least 1, got 0"),
        ("k", 10**9, "k must be at most 1000, got 1000000000"),
        ("k", 2.5, "k must be a whole number, got 2.5"),
        ("graph", "x", "Unknown graph='x'"),
        ("graph_kwargs", [], "graph_kwargs must be a mapping, got []"),
        ("graph_kwargs", {"k": -1}, "k must be at least 1, got -1"),
        ("graph_kwargs", {"k": "a"}, "preprocessing.graph_kwargs: k must be a whole number, got 'a'"),
        ("graph_kwargs", {"class_path": "x"}, "graph_kwargs has the unknown key 'class_path'"),
        ("coord_type", "polar", "coord_type must be 'pixel' or 'array', got 'polar'"),
        ("stain", "/etc/passwd", "Unknown stain='/etc/passwd'"),
        ("normalize_by", 3, "normalize_by must be 'panel' or 'all', got 3"),
        ("transpose_patches", "no", "transpose_patches must be true or false, got 'no'"),
        ("embedding", 5, "embedding must be text or null, got 5"),
        ("um_per_pixel", 0, "um_per_pixel must be above 0, got 0"),
        ("pitch", [], "pitch must be a number or null, got []"),
        ("nope", 1, "preprocessing has the unknown key 'nope'"),
    ],
)
def test_preprocessing_that_cannot_be_right_is_refused(saved: Path, option: str, value: Any, message: str) -> None:
    change(saved, "preprocessing", **{option: value})
    assert f"{saved}: " in refusal(saved)
    assert message in refusal(saved)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("format", True, "model format True is not supported; this version reads 1, 2 and 3"),
        ("format", [], "model format [] is not supported; this version reads 1, 2 and 3"),
        ("model", [], "model must be text, got []"),
        ("model", "Hist2ST", "Unknown model='Hist2ST'"),
        ("arguments", None, "arguments must be a mapping, got None"),
        ("arguments", {}, "arguments lacks n_genes"),
        ("preprocessing", [], "preprocessing must be a mapping or null, got []"),
        ("preprocessing", {}, "preprocessing lacks genes"),
        ("gene_trust", {"val_pcc": [1.0] * G}, "gene_trust must hold detected, val_ceiling, val_pcc, got ['val_pcc']"),
        (
            "gene_trust",
            {"detected": [True] * G, "val_ceiling": [None] * G, "val_pcc": ["x"] * G},
            "gene_trust.val_pcc must hold numbers, true, false or null, got 'x'",
        ),
        ("gene_trust", {"val_pcc": [1.0]}, "its gene_trust must have one value per gene in each column"),
        ("gene_trust", 5, "its gene_trust must have one value per gene in each column"),
    ],
)
def test_parts_of_other_types_are_refused(saved: Path, part: str, value: Any, message: str) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, part: value}))
    assert message in refusal(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 5000 + b"]" * 5000, "config.json is nested too deep"),
        (b'{"format": NaN}', "it holds NaN, which is not a number"),
        (b'{"format": 3, "format": 2}', "the key 'format' is duplicated"),
        ('{"format": 3}'.encode("utf-16"), "config.json is not JSON: 'utf-8' codec"),
    ],
    ids=["deep", "nan", "twice", "utf-16"],
)
def test_a_config_that_is_no_json_is_refused(saved: Path, content: bytes, message: str) -> None:
    (saved / "config.json").write_bytes(content)
    assert message in refusal(saved)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("target_mean", torch.zeros(G, dtype=torch.float64), "weight target_mean is float64, the model needs float32"),
        ("target_mean", torch.zeros(G, dtype=torch.int32), "weight target_mean is int32, the model needs float32"),
        ("target_mean", torch.zeros(()), "n_genes is 5, but the weight target_mean is []"),
        ("target_mean", torch.full((G,), torch.inf), "weight target_mean has values that are not finite"),
        ("pixel_std", torch.zeros(3), "all values of the weight pixel_std must be above 0"),
        ("target_std", -torch.ones(G), "all values of the weight target_std must be above 0"),
    ],
)
def test_weights_that_cannot_be_right_are_refused(saved: Path, name: str, value: Tensor, message: str) -> None:
    weights = load_file(saved / "model.safetensors")
    save_file({**weights, name: value}, saved / "model.safetensors")
    assert message in refusal(saved)


def test_weights_that_lack_the_genes_are_refused(saved: Path) -> None:
    save_file({"a": torch.zeros(1)}, saved / "model.safetensors")
    assert "n_genes is 5, but the weight target_mean is missing" in refusal(saved)


def test_half_precision_is_read(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    save_file({n: v.half() if v.is_floating_point() else v for n, v in weights.items()}, saved / "model.safetensors")
    assert {parameter.dtype for parameter in load_model(saved).parameters()} == {torch.float32}


def test_a_model_in_double_precision_is_saved_in_single(original: Path, tmp_path: Path) -> None:
    model = load_model(original).double()
    again = load_model(model.save_pretrained(tmp_path / "again"))
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.float() if value.is_floating_point() else value)


@pytest.mark.parametrize("state", [[1], {"model.a": 5}, {3: torch.zeros(1)}, None, "x"], ids=str)
def test_a_checkpoint_without_weights_by_name_is_refused(original: Path, tmp_path: Path, state: Any) -> None:
    torch.save({"description": describe(load_model(original)), "state_dict": state}, tmp_path / "last.ckpt")
    assert "state_dict" in refusal(tmp_path / "last.ckpt")


def test_values_of_a_checkpoint_are_checked_too(original: Path, tmp_path: Path) -> None:
    model = load_model(original)
    description = describe(model)
    description["arguments"]["heads"] = torch.ones(2)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"description": description, "state_dict": state}, tmp_path / "last.ckpt")
    assert "heads must be a whole number, got tensor" in refusal(tmp_path / "last.ckpt")


# Weights from elsewhere.


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading or fetching pretrained weights fails the test."""

    def read(*_: Any) -> Any:
        raise AssertionError("weights from elsewhere were asked for")

    monkeypatch.setattr(densenet, "_read", read)
    monkeypatch.setattr(densenet, "_download", read)
    monkeypatch.setattr(foundation, "fetch_image_model", read)


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize("named", [{"weights": "/elsewhere/weights.pth"}, {"weights": "imagenet"}, {}, None])
def test_a_densenet_is_filled_from_its_own_file(tmp_path: Path, named: dict[str, Any] | None) -> None:
    folder = saved_model(tmp_path / "m", "stnet", patch_size=29, vision_kwargs={"weights": "random", "chunk": 4})
    before = load_model(folder).state_dict()
    config = json.loads((folder / "config.json").read_text())
    config["arguments"]["vision_kwargs"] = named
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(folder)
    assert all(torch.equal(before[name], value) for name, value in loaded.state_dict().items())
    assert describe(loaded)["arguments"]["vision_kwargs"]["weights"] == "random"


@pytest.mark.usefixtures("forbidden")
def test_the_key_of_an_encoder_may_be_left_to_the_default(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "m", "stnet", patch_size=29, vision_kwargs={"weights": "random"})
    config = json.loads((folder / "config.json").read_text())
    config["arguments"] = {"n_genes": G, "patch_size": 29}
    (folder / "config.json").write_text(json.dumps(config))
    assert isinstance(load_model(folder), ExpressionModel)


TINY = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": P,
    "patch_size": 7,
}


@pytest.fixture
def phikon(tmp_path: Path) -> Path:
    return saved_model(tmp_path / "m", vision="phikon", vision_kwargs={"config": TINY, "size": P})


@pytest.mark.usefixtures("forbidden")
def test_a_foundation_model_is_rebuilt_from_its_own_architecture(phikon: Path) -> None:
    first = load_model(phikon).state_dict()
    config = json.loads((phikon / "config.json").read_text())["arguments"]["vision_kwargs"]
    named = {"source": "attacker/repo", "hub": "attacker/repo"}
    elsewhere = {"attn_implementation": "attacker/repo", "auto_map": {"AutoModel": "attacker/repo--code.Model"}}
    change(phikon, "arguments", vision_kwargs={**config, **named, "config": {**config["config"], **elsewhere}})
    loaded = load_model(phikon)
    assert all(torch.equal(first[name], value) for name, value in loaded.state_dict().items())
    assert "attacker" not in json.dumps(describe(loaded))


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize(
    ("vision_kwargs", "message"),
    [
        (
            {"source": "attacker/repo"},
            "config, the encoder's architecture, is missing and is not downloaded; build the",
        ),
        (None, "config, the encoder's architecture, is missing"),
        ({"config": {"model_type": "timm_wrapper", "architecture": "x"}}, "Unknown model_type='timm_wrapper'. Choose"),
        ({"config": {"hidden_size": 16}}, "Unknown model_type=None"),
        ({"config": {**TINY, "num_hidden_layers": "x"}}, "config does not describe a vit: "),
        ({"config": {**TINY, "num_hidden_layers": 10**7}}, "it asks for more than 1,"),
        ({"config": {**TINY, "image_size": 10**7}}, "(the largest number is vision_kwargs.config.image_size=10000000)"),
        ({"config": {**TINY, "hidden_act": "os.system"}}, "os.system"),
        ({"config": TINY, "size": 10**6}, "size must be from 1 to 4096 pixels, got 1000000"),
        ({"config": TINY, "statistics": "white"}, "statistics must be a list"),
    ],
)
def test_a_foundation_model_that_would_have_to_be_fetched_is_refused(
    phikon: Path, vision_kwargs: Any, message: str
) -> None:
    change(phikon, "arguments", vision_kwargs=vision_kwargs)
    assert message in refusal(phikon)
