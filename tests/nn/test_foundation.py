from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hist2st_pyg.nn import ENCODERS, FoundationEncoder, vision_resolver

P = 28
KEYS = ("midnight", "phikon", "phikon-v2")
HALVES = ([0.5] * 3, [0.5] * 3)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def patches(n: int = 5, side: int = P) -> Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def scaled(x: Tensor, statistics: Any) -> Tensor:
    mean, std = torch.tensor(statistics)[..., None, None]
    return (x.float() / 255 - mean) / std


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
    with pytest.raises(ValueError, match=r"ResNetModel has no class token; take pooling='pooler' or 'mean'"):
        vision_resolver("phikon", P, source=str(tmp_path))


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"owkin/phikon needs transformers .*pip install 'hist2st_pyg\[bench\]'"):
        FoundationEncoder(3, P, hub="owkin/phikon")


# Any image model of transformers, by id or folder.


def others() -> dict[str, Any]:
    """Small models of several kinds, as transformers builds them."""
    import transformers as t

    torch.manual_seed(0)
    vit = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit |= {"image_size": P, "patch_size": 14}
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    text |= {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1}
    dino = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": P, "patch_size": 14}
    return {
        "vit": t.ViTModel(t.ViTConfig(**vit)),
        "dinov2 with registers": t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino)),
        "dinov3": t.DINOv3ViTModel(t.DINOv3ViTConfig(**{**vit, "num_register_tokens": 2})),
        "convnext": t.ConvNextModel(t.ConvNextConfig(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2)),
        "resnet": t.ResNetModel(t.ResNetConfig(embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1])),
        "siglip": t.SiglipVisionModel(t.SiglipVisionConfig(**vit)),
        "clip": t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vit, projection_dim=8)),
    }


EXPECTED: dict[str, Any] = {
    "vit": ("cls", lambda out: out.last_hidden_state[:, 0]),
    "dinov2 with registers": ("cls", lambda out: out.last_hidden_state[:, 0]),
    "dinov3": ("cls", lambda out: out.last_hidden_state[:, 0]),
    "convnext": ("pooler", lambda out: out.pooler_output),
    "resnet": ("pooler", lambda out: out.pooler_output.flatten(1)),
    "siglip": ("pooler", lambda out: out.pooler_output),
    "clip": ("pooler", lambda out: out.pooler_output),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_any_image_model_of_transformers_is_an_encoder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = others()[kind].eval()
    model.save_pretrained(tmp_path / "weights")
    encoder = vision_resolver("hf", P, source=str(tmp_path / "weights"), size=P, chunk=2).eval()
    pooling, read = EXPECTED[kind]
    with torch.no_grad():
        part = getattr(model, "vision_model", model)
        expected = read(part(pixel_values=scaled(patches(), IMAGENET)))
    torch.testing.assert_close(encoder(patches()), expected, rtol=1e-4, atol=1e-5)
    assert (encoder.out_channels, encoder.arguments["pooling"]) == (expected.shape[1], pooling)
    # It is rebuilt from its own description alone.
    monkeypatch.setattr("hist2st_pyg.nn.foundation.fetch_image_model", None)
    again = vision_resolver("hf", P, **json.loads(json.dumps(encoder.arguments))).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert torch.equal(again(patches()), encoder(patches()))
    assert again.arguments == encoder.arguments


def embedded(folder: Path, **options: Any) -> Tensor:
    encoder = vision_resolver("hf", P, source=str(folder), **options).eval()
    out: Tensor = encoder(patches(2))
    assert out.shape[1] == encoder.out_channels
    return out


@torch.no_grad()
def test_the_embedding_is_read_off_as_asked(tmp_path: Path) -> None:
    model = others()["dinov2 with registers"].eval()
    model.save_pretrained(tmp_path)
    tokens = model(pixel_values=scaled(patches(2), IMAGENET)).last_hidden_state
    assert tokens.shape[1] == 1 + 4 + 4  # class, registers, patches
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    close(embedded(tmp_path, pooling="mean"), tokens[:, 5:].mean(1))
    close(embedded(tmp_path, pooling="cls_mean"), torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1))
    close(embedded(tmp_path, pooling="pooler"), tokens[:, 0])
    convolutional = others()["convnext"].eval()
    convolutional.save_pretrained(tmp_path / "other")
    features = convolutional(pixel_values=scaled(patches(2), IMAGENET)).last_hidden_state
    close(embedded(tmp_path / "other", size=P, pooling="mean"), features.mean((2, 3)))


@pytest.mark.parametrize(
    ("settings", "size", "statistics"),
    [
        (
            {"size": {"height": 28, "width": 28}, "image_mean": [0.1] * 3, "image_std": [0.2] * 3},
            28,
            [[0.1] * 3, [0.2] * 3],
        ),
        ({"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}, 32, [*IMAGENET]),
        ({"size": {"shortest_edge": 40}, "crop_size": 32, "do_center_crop": False}, 40, [*IMAGENET]),
        (
            {"size": 30, "do_normalize": False, "image_mean": [0.1] * 3, "image_std": [0.2] * 3},
            30,
            [[0.0] * 3, [1.0] * 3],
        ),
        (None, 224, [*IMAGENET]),
    ],
    ids=str,
)
def test_size_and_colors_are_those_of_the_preprocessor(
    settings: dict[str, Any] | None, size: int, statistics: Any, tmp_path: Path
) -> None:
    others()["convnext"].save_pretrained(tmp_path)
    if settings is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    encoder = vision_resolver("hf", P, source=str(tmp_path))
    assert (encoder.arguments["size"], encoder.arguments["statistics"]) == (size, statistics)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"preprocessor_config\.json is not JSON"),
        ("[1]", r"preprocessor_config\.json must hold a mapping, got \[1\]"),
        ('{"image_mean": [0.5]}', r"3 numbers each .*, got \[0\.5\] and None"),
        ('{"image_mean": [0, 0, 0], "image_std": [1, 1, 0]}', r"the second above 0, got .* \[1, 1, 0\]"),
        ('{"image_mean": [0, 0, "x"], "image_std": [1, 1, 1]}', "3 numbers each"),
    ],
)
def test_a_preprocessor_that_cannot_be_right_is_refused(text: str, message: str, tmp_path: Path) -> None:
    others()["convnext"].save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        embedded(tmp_path)


def test_the_weights_of_a_pooled_output_are_needed_where_it_is_read(tmp_path: Path) -> None:
    from transformers import ViTModel

    model = others()["vit"]
    ViTModel(model.config, add_pooling_layer=False).save_pretrained(tmp_path)
    assert embedded(tmp_path).shape == (2, 16)
    with pytest.raises(ValueError, match=r"lacks 2 weights of ViTModel, for example pooler\.dense"):
        embedded(tmp_path, pooling="pooler")


def test_what_an_image_model_cannot_do_is_said(tmp_path: Path) -> None:
    others()["convnext"].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="ConvNextModel has no class token; take pooling='pooler' or 'mean'"):
        embedded(tmp_path, pooling="cls")
    others()["vit"].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"ViTModel gives no embedding of an image of 30 x 30 pixels: .*size"):
        embedded(tmp_path, size=30)
    with pytest.raises(ValueError, match=r"vision='hf' needs the model's id .* vision_kwargs=\{'source': \.\.\.\}"):
        vision_resolver("hf", P)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, r"Unknown model_type='bert'\. Choose one of: .*convnext.*vit"),
        ({"model_type": "timm_wrapper", "architecture": "vit"}, "Unknown model_type='timm_wrapper'"),
        ({"model_type": "detr"}, "model_type='detr' is built on another model, which would be fetched"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "a.B", "AutoModel": "a.C"}},
            "code of its own, which is never run",
        ),
        ({"hidden_size": 3}, "Unknown model_type=None.*Compute embeddings with other models elsewhere"),
    ],
    ids=str,
)
def test_what_is_no_image_model_is_refused_before_its_weights_are_read(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "a.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=rf"^{tmp_path}: .*{message}"):
        vision_resolver("hf", P, source=str(tmp_path))


def test_a_gated_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    from huggingface_hub.errors import GatedRepoError
    from transformers import PretrainedConfig

    def gated(*_: Any, **__: Any) -> Any:
        answer = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))
        try:
            raise GatedRepoError("403 Client Error", response=answer)
        except GatedRepoError as error:
            raise OSError("You are trying to access a gated repo.") from error

    monkeypatch.setattr(PretrainedConfig, "get_config_dict", gated)
    message = (
        r"owner/name is gated: accept its license at https://huggingface\.co/owner/name, log in with `hf auth login` "
        r"or set HF_TOKEN"
    )
    with pytest.raises(OSError, match=message):
        vision_resolver("hf", P, source="owner/name")


def test_a_model_with_such_an_encoder_is_saved_and_loaded_without_the_source(tmp_path: Path) -> None:
    from hist2st_pyg import Hist2ST, load_model

    others()["dinov3"].save_pretrained(tmp_path / "weights")
    kwargs = {"source": str(tmp_path / "weights"), "size": P}
    model = Hist2ST(3, patch_size=P, vision="hf", vision_kwargs=kwargs, transformer_layers=0, gnn="sage")
    model.save_pretrained(tmp_path / "model")
    for path in (tmp_path / "weights").iterdir():
        path.unlink()
    loaded = load_model(tmp_path / "model")
    assert torch.equal(loaded.vision_stages[0](patches()), model.eval().vision(patches()))
    text = (tmp_path / "model" / "config.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["arguments"]["vision_kwargs"]["origin"] == "folder weights"
