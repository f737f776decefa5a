"""The vision stage: each spot's patch becomes its node feature, [N, 3·S, P, P] -> [N, C].

To add an encoder, write a module with an ``out_channels`` attribute and add one line to :data:`ENCODERS`. It may also
have these attributes:

- ``takes``: its input. ``"normalized"`` (default): patches scaled by the training sections' colors. ``"pixels"``:
  patches 0 to 255, which it scales itself. ``"statistics"``: the same, or [N, 27] of
  :class:`~hist2st_pyg.nn.PatchStatistics`. ``"embeddings"``: [N, D] instead of patches.
- ``arguments``: keyword arguments that rebuild it without downloading weights, for loading a saved model.
- ``without_weights``: a function that changes such arguments, read from a file, so that they load no weights.
- ``origin``: the source of its weights, in words, for result files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hist2st_pyg.nn.convmixer import ConvMixer
from hist2st_pyg.nn.densenet import DenseNet121Encoder
from hist2st_pyg.nn.efficientnet import EfficientNetLite0Encoder
from hist2st_pyg.nn.foundation import FoundationEncoder
from hist2st_pyg.nn.linear import LinearEncoder
from hist2st_pyg.nn.precomputed import PrecomputedEncoder
from hist2st_pyg.nn.statistics import StatisticsEncoder
from hist2st_pyg.nn.texture import TextureCNN
from hist2st_pyg.utils.resolver import resolve

EncoderFactory = Callable[[int, int], nn.Module]
"""``(in_channels, patch_size) -> module`` with an ``out_channels`` attribute."""


class MultiScale(nn.Module):
    """One encoder for each field of view of a spot; concatenates their features.

    Args:
        encoders: One encoder for each scale, in the order of the patches' channels.
        n_scales: Number of fields of view in the patches' channels, of which the first are encoded; None: all.

    Shapes:
        - patches [N, 3·S, P, P] -> [N, sum of the encoders' C]

    Raises:
        ValueError: If the encoders do not all take patches with the same scaling.
    """

    def __init__(self, encoders: Sequence[nn.Module], n_scales: int | None = None) -> None:
        super().__init__()
        takes = {str(getattr(encoder, "takes", "normalized")) for encoder in encoders}
        if len(takes) > 1 or "embeddings" in takes:
            raise ValueError(f"The encoders of all scales must take patches scaled alike, got {sorted(takes)}.")
        (self.takes,) = takes
        self.encoders = nn.ModuleList(encoders)
        self.n_scales = n_scales or len(encoders)
        self.out_channels = sum(encoder.out_channels for encoder in encoders)  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        views = x.chunk(self.n_scales, dim=1)[: len(self.encoders)]
        return torch.cat([encoder(view) for encoder, view in zip(self.encoders, views, strict=True)], dim=1)


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "cnn": TextureCNN,
    "convmixer": ConvMixer,
    "densenet121": DenseNet121Encoder,
    "efficientnet_lite0": EfficientNetLite0Encoder,
    "linear": LinearEncoder,
    "hf": FoundationEncoder,
    "midnight": partial(
        FoundationEncoder,
        hub="kaiko-ai/midnight",
        pooling="cls_mean",
        statistics=((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        size=224,
    ),
    "phikon": partial(FoundationEncoder, hub="owkin/phikon", pooling="cls", size=224),
    "phikon-v2": partial(FoundationEncoder, hub="owkin/phikon-v2", pooling="cls", size=224),
    "precomputed": PrecomputedEncoder,
    "color_texture": StatisticsEncoder,
}
"""The encoders that can be chosen by key."""


def vision_resolver(
    vision: str | EncoderFactory, patch_size: int, n_scales: int = 1, seen_scales: int | None = None, **kwargs: Any
) -> nn.Module:
    """Build the vision stage from a key, a class or a factory.

    Args:
        vision: A key of :data:`ENCODERS`, or a class or function ``(in_channels, patch_size) -> module``.
        patch_size: Side of a patch in pixels.
        n_scales: Number of fields of view stacked in a patch's channels; each has its own encoder.
        seen_scales: Number of fields of view to encode, from the first on; None encodes all.
        kwargs: Further arguments of the encoder.

    Raises:
        TypeError: If ``vision`` is an instance, or the encoder has no ``out_channels``.
        ValueError: If the key is unknown, or the encoder of several scales takes embeddings.

    >>> encoder = vision_resolver("cnn", patch_size=16, n_scales=2, out_channels=32)
    >>> encoder(torch.zeros(4, 6, 16, 16)).shape
    torch.Size([4, 64])
    """
    if isinstance(vision, nn.Module):
        raise TypeError(
            f"vision={type(vision).__name__}(...) is an instance; pass its class, a key or a factory "
            "(in_channels, patch_size) -> module, so that each model has its own weights."
        )
    factory = vision if callable(vision) else resolve(ENCODERS, vision, "vision")
    if kwargs.get("out_channels", 1) < 1:
        raise ValueError(f"out_channels of the vision stage must be at least 1, got {kwargs['out_channels']}.")
    encoders = [factory(3, patch_size, **kwargs) for _ in range(min(seen_scales or n_scales, n_scales))]
    for encoder in encoders:
        if not isinstance(getattr(encoder, "out_channels", None), int):
            raise TypeError(
                f"The encoder {type(encoder).__name__} must have an integer attribute out_channels, its width C."
            )
    return encoders[0] if n_scales == 1 else MultiScale(encoders, n_scales)


def without_fetching(vision: Any, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Change an encoder's arguments so that it keeps its shapes and downloads no weights; None if it cannot.

    Args:
        vision: A key of :data:`ENCODERS`, or a class or factory, whose arguments are returned unchanged.
        kwargs: The arguments of the encoder.
    """
    encoder = ENCODERS.get(vision) if isinstance(vision, str) else None
    if encoder is DenseNet121Encoder and kwargs.get("weights", "auto") in ("auto", "imagenet"):
        return {**kwargs, "weights": "random"}
    if getattr(encoder, "func", encoder) is FoundationEncoder and kwargs.get("config") is None:
        known = {**getattr(encoder, "keywords", {}), **kwargs}
        return None if known.get("hub") or known.get("source") else kwargs  # without either it is refused when built
    return kwargs


def first_encoder(encoder: nn.Module) -> nn.Module:
    """The encoder itself, or the encoder of the first field of view."""
    return encoder.encoders[0] if isinstance(encoder, MultiScale) else encoder


def encoder_origin(encoders: Sequence[nn.Module]) -> str | None:
    """The source of the first encoder's initial weights: ``"random"``, a file, a hub; None if it has no ``origin``."""
    return getattr(first_encoder(encoders[0]), "origin", None) if encoders else None


def saved_encoder_arguments(vision: str, saved: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that build a saved model's encoder without reading or downloading other weights.

    Args:
        vision: A key of :data:`ENCODERS`.
        saved: The arguments in the file.

    Raises:
        ValueError: If the encoder could not be built without a download.
    """
    factory = ENCODERS[vision]
    without_weights = getattr(getattr(factory, "func", factory), "without_weights", dict)
    arguments: dict[str, Any] = without_weights(saved)
    return arguments


def rebuild_arguments(encoder: nn.Module, given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The arguments that rebuild an encoder without downloading weights; the saved model holds them."""
    arguments: dict[str, Any] | None = getattr(first_encoder(encoder), "arguments", given)
    return arguments
