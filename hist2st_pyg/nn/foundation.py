"""Pathology foundation models, through transformers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hist2st_pyg.nn.checkpointing import in_chunks
from hist2st_pyg.nn.pixels import IMAGENET, Pixels, Statistics
from hist2st_pyg.utils.optional import require_extra

UNUSED = ("pooler.", "embeddings.mask_token")
"""Weights that do not change the embeddings and are dropped."""

ARCHITECTURES = (
    "beit", "data2vec-vision", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "vit_msn"
)  # fmt: skip
"""The vision transformers with a class token, by transformers' ``model_type``."""

FILES = "The folder holds config.json, model.safetensors and preprocessor_config.json."


class FoundationEncoder(nn.Module):
    """The embedding of a vision transformer trained on pathology images; C is its width, or twice that.

    Phikon (Filiot et al. 2023), Phikon-v2 (Filiot et al. 2024) and Midnight (Karasikov et al. 2025) are keys of
    ``ENCODERS``. Their weights have separate licenses, which you have to accept.

    Args:
        in_channels: Channels of a patch, 3.
        patch_size: Side of a patch in pixels, P.
        hub: The model's id on the Hugging Face hub; the key sets it.
        patch_mean: Append the mean of the patch tokens to the class token, as Midnight's model card does; the key sets
            it.
        statistics: Mean and standard deviation of the colors, if the source has no ``preprocessor_config.json``; the
            key sets it.
        source: A local folder in transformers' format, or an id on the hub; None takes ``hub``.
        config: Build the architecture from this configuration, with random weights and without a download.
        size: Side to which patches are resized, in pixels.
        frozen: Keep the weights: no gradient, no dropout.
        chunk: Largest number of patches at a time, to save memory.
        origin: The source of weights that are loaded later; set when a saved model is rebuilt.

    Attributes:
        origin: The source of the weights, in words.
        arguments: The arguments that rebuild the same network without a download.

    Shapes:
        - patches [N, 3, P, P], 0 to 255 -> [N, C]

    Raises:
        ImportError: If the ``bench`` extra is not installed.
        OSError: If the model cannot be downloaded or read.
        ValueError: If the source lacks weights.
    """

    takes = "pixels"

    def __init__(
        self,
        in_channels: int = 3,
        patch_size: int = 112,
        *,
        hub: str,
        patch_mean: bool = False,
        statistics: Statistics = IMAGENET,
        source: str | None = None,
        config: dict[str, Any] | None = None,
        size: int = 224,
        frozen: bool = True,
        chunk: int = 32,
        origin: str | None = None,
    ) -> None:
        super().__init__()
        with require_extra(hub, "transformers", "bench"):
            import transformers  # noqa: F401
        if config is not None:
            model, found = _build(config), "random"
        else:
            source = source or hub
            model, statistics = _fetch(source, statistics)
            found = f"folder {Path(source).name}" if Path(source).is_dir() else f"{source} (Hugging Face hub)"
        self.origin = origin or found
        self.arguments = {
            "config": _architecture(json.loads(model.config.to_json_string())),
            "statistics": [list(values) for values in statistics],
            "size": size,
            "frozen": frozen,
            "chunk": chunk,
            "origin": self.origin,
        }
        self.net = _Embedding(Pixels(statistics, size), model, patch_mean).requires_grad_(not frozen)
        self.frozen, self.chunk = frozen, chunk
        self.out_channels = int(model.config.hidden_size) * (1 + patch_mean)
        self.train()

    @staticmethod
    def without_weights(saved: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a saved model, with its own architecture and without the source that they name."""
        if not saved.get("config"):
            raise ValueError(
                "config, the encoder's architecture, is missing and is not fetched; build the model with "
                "vision_kwargs={'source': ...}, load its weights, and save it again."
            )
        return {name: value for name, value in saved.items() if name not in ("hub", "source")}

    def train(self, mode: bool = True) -> FoundationEncoder:
        """Set the mode; a frozen model stays in evaluation mode."""
        super().train(mode)
        self.net.train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return in_chunks(self.net, x, self.chunk)


class _Embedding(nn.Module):
    """Pixels -> class token, with the mean of the patch tokens if ``patch_mean``."""

    def __init__(self, pixels: Pixels, model: Any, patch_mean: bool) -> None:
        super().__init__()
        self.pixels, self.model, self.patch_mean = pixels, model, patch_mean

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.model(pixel_values=self.pixels(x)).last_hidden_state
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1) if self.patch_mean else tokens[:, 0]


def _build(config: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModel

    settings = _architecture(config)
    try:
        architecture = AutoConfig.for_model(**settings)
    except Exception as error:  # transformers' own errors have no common class
        reason = " ".join(str(error).split())
        raise ValueError(f"config does not describe a {settings['model_type']}: {reason}") from error
    return _without_unused(AutoModel.from_config(architecture, trust_remote_code=False))


def _architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration that describe the architecture; some of the others name code or weights."""
    from transformers import AutoConfig, PretrainedConfig

    kind = _known(config.get("model_type"))
    own = inspect.signature(type(AutoConfig.for_model(kind))).parameters
    names = set(own) - set(inspect.signature(PretrainedConfig).parameters)
    return {"model_type": kind, **{name: value for name, value in config.items() if name in names}}


def _known(kind: Any) -> str:
    if kind not in ARCHITECTURES:
        raise ValueError(f"Unknown model_type={kind!r:.100}. Choose one of: {', '.join(ARCHITECTURES)}.")
    return str(kind)


def _fetch(source: str, statistics: Statistics) -> tuple[Any, Statistics]:
    """Download or read the model, and the statistics of its training colors."""
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        model, info = AutoModel.from_pretrained(
            source, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if Path(source).is_dir():
            raise OSError(f"The model in {source} could not be loaded: {error} {FILES}") from error
        raise OSError(
            f"{source} is not a local folder and could not be downloaded from the Hugging Face hub: {error}\nDownload "
            f"it elsewhere (the hub may ask you to accept a license) and set source=FOLDER. {FILES}"
        ) from error
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith(UNUSED)):
        raise ValueError(f"{source} lacks {len(missing)} weights of {type(model).__name__}, for example {missing[0]}.")
    return _without_unused(model), _statistics(source) or statistics


def _statistics(source: str) -> Statistics | None:
    from transformers.utils import cached_file

    path = cached_file(source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    if path is None:
        return None
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    return (settings["image_mean"], settings["image_std"]) if "image_mean" in settings else None


def _without_unused(model: Any) -> nn.Module:
    """Drop the weights that never get a gradient, and convert the model to single precision."""
    if not hasattr(getattr(model, "embeddings", None), "cls_token"):
        raise ValueError(f"{type(model).__name__} is not a vision transformer with a class token.")
    if hasattr(model, "pooler"):
        model.pooler = None
    model.embeddings.mask_token = None
    _known(model.config.model_type)
    return model.float()  # type: ignore[no-any-return]
