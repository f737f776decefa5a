"""DenseNet-121, with ImageNet weights by default."""

from __future__ import annotations

import http.client
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hist2st_pyg.nn.checkpointing import in_chunks
from hist2st_pyg.nn.pixels import AS_SCALED, IMAGENET, Pixels
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.safe_load import read_tensors

logger = logging.getLogger(__name__)

URL = "https://download.pytorch.org/models/densenet121-a639ec97.pth"
"""torchvision's weights; the name ends with the first digits of the file's SHA-256."""

SCALINGS = {"imagenet": "pixels", "training": "normalized"}
"""The source of the statistics that scale the colors -> the input that the encoder takes."""

SMALLEST_PATCH = 29
"""Smallest side of a patch in pixels; the network halves it five times."""


class DenseNet121Encoder(nn.Module):
    """The features of DenseNet-121 (Huang et al. 2017, by MONAI), averaged over the patch; C = 1024.

    Args:
        in_channels: Channels of a patch, 3.
        patch_size: Side of a patch in pixels, P.
        weights: ``"imagenet"`` downloads torchvision's weights; ``"auto"`` does too, but falls back to random weights
            with a warning if the download fails; ``"random"``; or a ``.pth`` or ``.safetensors`` file with
            torchvision's or MONAI's names.
        size: Side to which patches are resized, in pixels; None keeps their size.
        chunk: Largest number of patches at a time, to save memory; in training batch norm takes its statistics from
            each chunk.
        origin: The source of weights that are loaded later; set when a saved model is rebuilt.
        scaling: The statistics that scale the colors: ``"imagenet"``, or ``"training"``, those of the training patches
            (``training.normalize``), as in ST-Net.

    Attributes:
        origin: The source of the weights, in words.
        takes: The input: ``"pixels"`` or ``"normalized"``.
        arguments: The arguments that rebuild the same network without weights.

    Shapes:
        - patches [N, 3, P, P], 0 to 255 or, with ``scaling="training"``, scaled -> [N, 1024]

    Raises:
        ConnectionError: If ``weights="imagenet"`` cannot be downloaded.
        FileNotFoundError: If the file of weights does not exist.
        ImportError: If the ``bench`` extra is not installed.
        ValueError: If the file does not hold the network's weights, or the patches are too small.
    """

    def __init__(
        self,
        in_channels: int = 3,
        patch_size: int = 112,
        weights: str = "auto",
        size: int | None = None,
        chunk: int = 32,
        origin: str | None = None,
        scaling: str = "imagenet",
    ) -> None:
        super().__init__()
        self.takes = resolve(SCALINGS, scaling, "scaling")
        with require_extra("DenseNet-121", "MONAI", "bench"):
            from monai.networks.nets.densenet import DenseNet121
        if (size or patch_size) < SMALLEST_PATCH:
            raise ValueError(
                f"DenseNet-121 needs patches of {SMALLEST_PATCH} pixels or more, got {size or patch_size}; set size to "
                "resize them, such as size=64."
            )
        net = DenseNet121(spatial_dims=2, in_channels=in_channels, out_channels=1)
        found = _initialize(net.features, weights)
        self.origin = origin or found
        self.arguments = {
            "weights": "random",
            "size": size,
            "chunk": chunk,
            "origin": self.origin,
            "scaling": scaling,
        }
        pixels = Pixels(IMAGENET if scaling == "imagenet" else AS_SCALED, size)
        # Without the classifier: ReLU, global average, flatten.
        self.net = nn.Sequential(pixels, net.features, *net.class_layers[:-1])
        self.chunk = chunk
        self.out_channels = 1024

    @staticmethod
    def without_weights(saved: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a saved model, changed so that the network starts from random weights."""
        return {"origin": "unknown", **saved, "weights": "random"}

    def forward(self, x: Tensor) -> Tensor:
        # Convolutions on CPUs take three quarters of the time in this layout.
        return in_chunks(self.net, x.contiguous(memory_format=torch.channels_last), self.chunk)


def _initialize(features: nn.Module, weights: str) -> str:
    """Load the weights and return their source in words."""
    if weights == "random":
        return "random"
    if weights in ("auto", "imagenet"):
        try:
            state = _download()
        except ConnectionError as error:
            if weights == "imagenet":
                raise
            logger.warning("DenseNet-121 starts from random weights. %s", error)
            return f"random: ImageNet weights could not be downloaded ({error.__cause__})"
        _load(features, state, URL)
        return f"ImageNet ({URL})"
    _load(features, _read(Path(weights)), weights)
    return f"file {Path(weights).name}"


def _download() -> Mapping[str, Any]:
    try:
        return torch.hub.load_state_dict_from_url(URL, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: the hash differs
        raise ConnectionError(
            f"{URL} could not be downloaded: {error}. Download it elsewhere and set weights=FILE, or use "
            "weights='random'."
        ) from error


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"weights={str(path)!r} is neither 'auto', 'imagenet', 'random' nor a file.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}.") from error
    state = read_tensors(path)
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold a dictionary of tensors (a state dict), got {type(state).__name__}.")
    return state


def _load(features: nn.Module, state: Mapping[str, Any], source: str) -> None:
    """Copy a state dict into the features; every weight must be present with its shape, a classifier is ignored."""
    given = {_monai_name(name): value for name, value in state.items() if name.startswith("features.")}
    # The published file lacks batch norm's counters, which are used only without a momentum.
    own = {name: v for name, v in features.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [name for name in own if name not in given or given[name].shape != own[name].shape]
    more = [name for name in given if name not in own and not name.endswith("num_batches_tracked")]
    if wrong or more:
        first = wrong[0] if wrong else more[0]
        got = f"shape {list(given[first].shape)}" if first in given else "nothing"
        needed = f"shape {list(own[first].shape)}" if first in own else "nothing"
        raise ValueError(
            f"{source} does not hold the weights of DenseNet-121: {len(wrong)} of {len(own)} are missing or have "
            f"another shape, {len(more)} are unexpected. For example features.{first} is {needed}, the file has {got}."
        )
    features.load_state_dict({name: given[name] for name in own}, strict=False)


def _monai_name(name: str) -> str:
    """``features.denseblock1.denselayer1.norm.1.weight`` -> ``denseblock1.denselayer1.layers.norm1.weight``.

    Later files of torchvision also write ``norm1``.
    """
    return re.sub(r"(denselayer\d+)\.(norm|conv)\.?(\d)", r"\1.layers.\2\3", name.removeprefix("features."))
