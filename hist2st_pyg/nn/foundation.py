"""Pretrained image encoders, through transformers: pathology foundation models by key, others by id or folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hist2st_pyg.nn.frozen import FreezableEncoder
from hist2st_pyg.nn.huggingface import architecture, build_image_model, fetch_image_model
from hist2st_pyg.nn.pixels import IMAGENET, NormStats, Pixels
from hist2st_pyg.utils.optional import require_extra

Pooling = Literal["auto", "cls", "cls_mean", "mean", "pooler"]
"""The embedding: ``"cls"`` is the class token, ``"mean"`` the mean of the patches' tokens or of the feature map,
``"cls_mean"`` both concatenated, ``"pooler"`` the model's pooled output. ``"auto"`` is the class token if the model has
one, else its pooled output, else the mean."""

IMAGE_PIXELS = 224
"""Side of an image in pixels if neither the source nor the architecture states one."""

LARGEST_PROBE = 512
"""Largest side of the test image for which a model is run to find the width of its embedding."""


class FoundationEncoder(FreezableEncoder):
    """The embedding of an image model of transformers; C is its width.

    The key ``"hf"`` loads any: ``vision="hf", vision_kwargs={"source": "owner/name"}``, or a folder. Phikon (Filiot et
    al. 2023), Phikon-v2 (Filiot et al. 2024) and Midnight (Karasikov et al. 2025) have their own keys. You have to
    accept the license of the weights, which are read as safetensors; no code of the source is run. A saved model holds
    architecture and weights, and no longer needs the source.

    Args:
        in_channels: Channels of a patch, 3.
        patch_size: Side of a patch in pixels, P.
        hub: The model's id on the Hugging Face hub, set by the keys of single models.
        pooling: The embedding, see :data:`Pooling`.
        statistics: Mean and standard deviation of the colors, if the source has no ``preprocessor_config.json``; None
            takes ImageNet's.
        source: A local folder in transformers' format, or an id on the hub; None takes ``hub``.
        config: Build the architecture from this configuration, with random weights and without a download.
        size: Side to which patches are resized, in pixels; None takes the source's.
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
        OSError: If the model cannot be downloaded or read, or is gated.
        ValueError: If no source is given, or the source is not an image model of transformers, lacks weights, has no
            such output or does not take images of this size.
    """

    net: _Embedding

    def __init__(
        self,
        in_channels: int = 3,
        patch_size: int = 112,
        *,
        hub: str | None = None,
        pooling: Pooling = "auto",
        statistics: NormStats | None = None,
        source: str | None = None,
        config: dict[str, Any] | None = None,
        size: int | None = None,
        frozen: bool = True,
        chunk: int = 32,
        origin: str | None = None,
    ) -> None:
        super().__init__()
        source = source or hub
        if config is None and source is None:
            raise ValueError(
                "vision='hf' needs the model's id on the Hugging Face hub or its folder: vision_kwargs={'source': ...}."
            )
        with require_extra(source or "The encoder", "transformers", "bench"):
            import transformers  # noqa: F401
        missing: list[str] = []
        if config is not None:
            model, found = build_image_model(config), "random"
        else:
            assert source is not None
            model, missing, own, side = fetch_image_model(source)
            statistics, size = own or statistics, size or side
            found = f"folder {Path(source).name}" if Path(source).is_dir() else f"{source} (Hugging Face hub)"
        statistics = statistics or IMAGENET
        size = size or _image_size(model) or IMAGE_PIXELS
        self.net = _Embedding(Pixels(statistics, size), model, pooling)
        self.out_channels = self.net.width()
        needed = [name for name in missing if name not in self.net.dropped]
        if needed:
            kind = type(model).__name__
            raise ValueError(f"{source} lacks {len(needed)} weights of {kind}, for example {needed[0]}.")
        self.origin = origin or found
        self.arguments = {
            "config": architecture(json.loads(model.config.to_json_string())),  # type: ignore[union-attr, operator]
            "pooling": self.net.pooling,
            "statistics": [list(values) for values in statistics],
            "size": size,
            "frozen": frozen,
            "chunk": chunk,
            "origin": self.origin,
        }
        self.freeze(frozen, chunk)

    @staticmethod
    def without_weights(saved: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a saved model, with its own architecture and without the source that they name."""
        if not saved.get("config"):
            raise ValueError(
                "config, the encoder's architecture, is missing and is not downloaded; build the model with "
                "vision_kwargs={'source': ...}, load its weights, and save it again."
            )
        return {name: value for name, value in saved.items() if name not in ("hub", "source")}


class _Embedding(nn.Module):
    """Pixels -> the model's embedding; the weights that it does not read are dropped."""

    def __init__(self, pixels: Pixels, model: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.pixels, self.model = pixels, model
        tokens = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
        has_class = bool(tokens & {"cls_token", "class_embedding"})
        registers = int(getattr(model.config, "num_register_tokens", None) or 0)
        self.prefix = has_class + ("distillation_token" in tokens) + registers
        """Tokens before those of the patches."""
        self.pooling: Pooling = pooling if pooling != "auto" else self._auto_pooling("cls_token" in tokens)
        if self.pooling in ("cls", "cls_mean") and not has_class:
            raise ValueError(f"{type(model).__name__} has no class token; set pooling='pooler' or 'mean'.")
        self.dropped = self._drop_unused()

    def _auto_pooling(self, class_token: bool) -> Pooling:
        if class_token:
            return "cls"
        return "mean" if self._shapes().get("pooler_output") is None else "pooler"

    def _drop_unused(self) -> list[str]:
        """Remove weights that never get a gradient, and return their names."""
        unused = [(self.model, "pooler")] if self.pooling != "pooler" else []
        if isinstance(embeddings := getattr(self.model, "embeddings", None), nn.Module):
            unused.append((embeddings, "mask_token"))
        names = {id(weight): name for name, weight in self.model.named_parameters()}
        dropped = []
        for owner, name in unused:
            value = getattr(owner, name, None)
            weights = list(value.parameters()) if isinstance(value, nn.Module) else [value]
            if weights and all(id(weight) in names for weight in weights):
                dropped += [names[id(weight)] for weight in weights]
                setattr(owner, name, None)
        return dropped

    def _shapes(self) -> Any:
        """The model's output for one image; on the meta device, where nothing is computed, if the model runs there."""
        mode, size = self.model.training, self.pixels.size or IMAGE_PIXELS
        self.model.eval()
        try:
            try:
                return self._output("meta", size)
            except RuntimeError:  # transformers 5.0's DINOv3 has no autocast there
                if size > LARGEST_PROBE:
                    raise
                return self._output("cpu", size)
        except Exception as error:  # models raise any class of error on an unsupported image
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{type(self.model).__name__} cannot embed an image of {size} x {size} pixels: {reason}"
            ) from error
        finally:
            self.model.train(mode)

    @torch.no_grad()
    def _output(self, device: str, size: int) -> Any:
        weights = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        moved = {name: weight.to(device) for name, weight in weights.items()}
        return functional_call(self.model, moved, (), {PIXELS_NAME: torch.zeros(1, 3, size, size, device=device)})

    def width(self) -> int:
        """The width of the embedding."""
        return int(self._pooled(self._shapes()).shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return self._pooled(self.model(**{PIXELS_NAME: self.pixels(x)}))

    def _pooled(self, out: Any) -> Tensor:
        kind = type(self.model).__name__
        if self.pooling == "pooler":
            if (pooled := out.get("pooler_output")) is None:
                raise ValueError(f"{kind} has no pooled output; set pooling='cls' or 'mean'.")
            return pooled.flatten(1)  # type: ignore[no-any-return]
        tokens: Tensor = out.last_hidden_state
        if tokens.dim() == 4:  # a feature map [N, C, H, W]
            return tokens.mean((2, 3))
        parts = [tokens[:, 0]] if self.pooling != "mean" else []
        parts += [tokens[:, self.prefix :].mean(1)] if self.pooling != "cls" else []
        return torch.cat(parts, dim=1)


PIXELS_NAME = "pixel_values"
"""The name of the image among the arguments of transformers' models."""


def _image_size(model: nn.Module) -> int | None:
    """The side of the images that an architecture expects."""
    size = getattr(model.config, "image_size", None)
    return size if isinstance(size, int) else None
