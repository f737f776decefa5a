from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.encoder_input import IMAGENET, P, patches, scaled
from torch import Tensor

from hist2st_pyg.nn import ENCODERS, FoundationEncoder, vision_resolver

KEYS = ("midnight", "phikon", "phikon-v2")
HALVES = ([0.5] * 3, [0.5] * 3)


def tiny(key: str, image_size: int = P) -> Any:
    """A random model of the key's class."""
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": image_size}
    if key == "phikon":
        return ViTModel(ViTConfig(**size, intermediate_size=32, patch_size=14, hidden_dropout_prob=0.5)).eval()
    return Dinov2Model(Dinov2Config(**size, mlp_ratio=2, patch_size=14, hidden_dropout_prob=0.5)).eval()


@pytest.fixture(params=KEYS)
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(key: str, tmp_path: Path) -> Path:
    tiny(key).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@torch.no_grad()
def embedding(key: str, x: Tensor) -> Tensor:
    """The model's own answer to what it was trained on."""
    tokens = tiny(key)(pixel_values=x).last_hidden_state
    return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1) if key == "midnight" else tokens[:, 0]


def test_each_key_names_its_model_on_the_hub() -> None:
    ids = {key: ENCODERS[key].keywords["hub"] for key in KEYS if isinstance(ENCODERS[key], partial)}
    assert ids == {"midnight": "kaiko-ai/midnight", "phikon": "owkin/phikon", "phikon-v2": "owkin/phikon-v2"}


def test_a_local_folder_gives_the_models_embedding(key: str, folder: Path) -> None:
    encoder = vision_resolver(key, P, source=str(folder), size=P, chunk=2).eval()
    expected = embedding(key, scaled(patches(), HALVES if key == "midnight" else IMAGENET))
    torch.testing.assert_close(encoder(patches()), expected, rtol=1e-4, atol=1e-5)
    assert encoder.out_channels == expected.shape[1] == (32 if key == "midnight" else 16)
    assert (encoder.takes, encoder.origin) == ("pixels", "folder weights")


def test_the_colors_are_those_of_the_sources_preprocessor(key: str, folder: Path) -> None:
    statistics = ([0.7, 0.6, 0.5], [0.2, 0.3, 0.4])
    settings = {"image_mean": statistics[0], "image_std": statistics[1], "size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = vision_resolver(key, P, source=str(folder), size=P)
    torch.testing.assert_close(encoder(patches()), embedding(key, scaled(patches(), statistics)), rtol=1e-4, atol=1e-5)
    assert encoder.arguments["statistics"] == [*statistics]
    (folder / "preprocessor_config.json").write_text('{"do_normalize": true}')
    own = vision_resolver(key, P, source=str(folder), size=P).arguments["statistics"]
    assert own == [*(HALVES if key == "midnight" else IMAGENET)]


def test_patches_become_224_pixels(tmp_path: Path) -> None:
    tiny("phikon-v2", image_size=224).save_pretrained(tmp_path)
    encoder, x = vision_resolver("phikon-v2", P, source=str(tmp_path)), patches(2)
    large = torch.nn.functional.interpolate(x.float(), (224, 224), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoder(x), encoder(large))
    assert encoder.arguments["size"] == 224


def test_arguments_build_the_same_without_the_source(key: str, folder: Path) -> None:
    first = vision_resolver(key, P, source=str(folder), size=P, frozen=False).eval()
    assert str(folder.parent) not in json.dumps(first.arguments)
    for path in folder.iterdir():
        path.unlink()
    second = vision_resolver(key, P, **json.loads(json.dumps(first.arguments))).eval()
    assert not torch.equal(second(patches()), first(patches()))
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(second(patches()), first(patches()))
    assert (second.arguments, second.origin) == (first.arguments, first.origin)


def test_frozen_weights_stay_as_they_are(key: str, folder: Path) -> None:
    encoder = vision_resolver(key, P, source=str(folder), size=P)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.train()
    out = encoder(patches())
    assert torch.equal(out, encoder(patches()))  # no dropout
    assert not out.requires_grad


def test_weights_that_are_not_frozen_are_trained(key: str, folder: Path) -> None:
    encoder = vision_resolver(key, P, source=str(folder), size=P, frozen=False, chunk=3)
    out = encoder.train()(patches())
    assert not torch.equal(out, encoder(patches()))  # dropout
    out.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
    encoder.eval()
    assert torch.equal(encoder(patches()), encoder(patches()))


def test_half_precision_on_disk_is_single_in_use(key: str, tmp_path: Path) -> None:
    tiny(key).half().save_pretrained(tmp_path)
    encoder = vision_resolver(key, P, source=str(tmp_path), size=P)
    again = vision_resolver(key, P, **encoder.arguments)
    for built in (encoder, again):
        assert {parameter.dtype for parameter in built.parameters()} == {torch.float32}
        assert built(patches()).dtype == torch.float32


def test_what_the_hub_does_not_give_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = r"nobody/absent is not a local .* could not be downloaded .*\n.*license.* set source=FOLDER"
    with pytest.raises(OSError, match=rf"(?s){message}"):
        vision_resolver("phikon", P, source="nobody/absent")


def test_the_key_fetches_its_own_model(key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from transformers import AutoModel

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    load = AutoModel.from_pretrained
    monkeypatch.setattr(AutoModel, "from_pretrained", partial(load, cache_dir=tmp_path))
    hub = ENCODERS[key].keywords["hub"]  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=rf"^{hub} is not a local folder and could not be downloaded"):
        vision_resolver(key, P)


def test_folders_that_do_not_hold_a_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "weights"
    tiny("phikon").save_pretrained(folder)
    weights, file = load_file(folder / "model.safetensors"), folder / "model.safetensors"

    def refused(error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            vision_resolver("phikon", P, source=str(folder), size=P)

    name = "encoder.layer.1.intermediate.dense.weight"
    save_file({n: w for n, w in weights.items() if n != name}, file, metadata={"format": "pt"})
    refused(ValueError, r"weights lacks 1 weights of ViTModel, for example .*weight")
    save_file(weights | {name: torch.zeros(3)}, file, metadata={"format": "pt"})
    refused(OSError, "The model in .*weights could not be loaded: .*The folder holds config.json")
    file.write_bytes(b"nothing" * 100)
    refused(OSError, "could not be loaded: Error while deserializing")
    file.unlink()
    torch.save(weights, folder / "pytorch_model.bin")  # it is not unpickled
    refused(OSError, "could not be loaded: Error no file named model.safetensors")
    (folder / "config.json").unlink()
    refused(OSError, "could not be loaded: ")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1])
    ResNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"ResNetModel has no class token; set pooling='pooler' or 'mean'"):
        vision_resolver("phikon", P, source=str(tmp_path))


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"owkin/phikon needs transformers .*pip install 'hist2st_pyg\[bench\]'"):
        FoundationEncoder(3, P, hub="owkin/phikon")
