"""Image models of transformers as encoders."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.encoder_input import IMAGENET, P, patches, scaled
from torch import Tensor

from hist2st_pyg.nn import vision_resolver


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
    with pytest.raises(ValueError, match="ConvNextModel has no class token; set pooling='pooler' or 'mean'"):
        embedded(tmp_path, pooling="cls")
    others()["vit"].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"ViTModel cannot embed an image of 30 x 30 pixels: .*size"):
        embedded(tmp_path, size=30)
    with pytest.raises(ValueError, match=r"vision='hf' needs the model's id .* vision_kwargs=\{'source': \.\.\.\}"):
        vision_resolver("hf", P)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, r"Unknown model_type='bert'\. Choose one of: .*convnext.*vit"),
        ({"model_type": "timm_wrapper", "architecture": "vit"}, "Unknown model_type='timm_wrapper'"),
        ({"model_type": "detr"}, "model_type='detr' is built on another model, which it would download"),
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "a.B", "AutoModel": "a.C"}},
            "its own code, which is never run",
        ),
        ({"hidden_size": 3}, "Unknown model_type=None.*Compute embeddings with it in another program"),
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
