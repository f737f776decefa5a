from __future__ import annotations

import hashlib
import http.server
import logging
import re
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hist2st_pyg.nn import DenseNet121Encoder
from hist2st_pyg.nn import densenet as module

P = 64


def patches(n: int = 3) -> Tensor:
    return torch.randint(256, (n, 3, P, P), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def reference() -> DenseNet121Encoder:
    """Random weights and running statistics, which stand for the published ones."""
    torch.manual_seed(1)
    encoder = DenseNet121Encoder(3, P, weights="random").eval()
    for name, buffer in encoder.net[1].named_buffers():
        if not name.endswith("num_batches_tracked"):
            buffer.uniform_(0.5, 1.5)
    return encoder


def torchvision_names(encoder: DenseNet121Encoder, style: str = "norm.1") -> dict[str, Tensor]:
    """A state dict as torchvision's published file has it, or (``"norm1"``) as its class writes it."""
    place = r"\1.\2" if style == "norm.1" else r"\1\2"
    state = {
        "features." + re.sub(r"layers\.(norm|conv)(\d)", place, name): value.clone()
        for name, value in encoder.net[1].state_dict().items()
        if not name.endswith("num_batches_tracked") or style == "norm1"
    }
    assert f"features.denseblock4.denselayer16.{style}.running_var" in state
    assert "features.transition1.norm.weight" in state
    return state | {"classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}


@pytest.fixture
def server(
    tmp_path: Path, reference: DenseNet121Encoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """The file of weights and the requests of a local server that stands for the published address."""
    folder, requests = tmp_path / "served", []
    folder.mkdir()
    torch.save(torchvision_names(reference), folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    path = (folder / "weights.pth").rename(folder / f"densenet121-{digest[:8]}.pth")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            requests.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{http_server.server_port}/{path.name}")
        monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
        yield path, requests
        http_server.shutdown()


def test_it_is_monais_network_without_the_classifier(reference: DenseNet121Encoder) -> None:
    from monai.networks.nets.densenet import DenseNet121

    net = DenseNet121(spatial_dims=2, in_channels=3, out_channels=7).eval()
    net.features.load_state_dict(reference.net[1].state_dict())
    net.class_layers.out = torch.nn.Identity()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = patches()
    expected = net((x.float().movedim(1, 3) / 255 - mean).div(std).movedim(3, 1))
    torch.testing.assert_close(reference(x), expected, rtol=1e-4, atol=1e-4)
    assert reference.out_channels == expected.shape[1] == 1024
    assert reference.takes == "pixels"


def test_patches_are_resized_and_chunked(reference: DenseNet121Encoder) -> None:
    other = DenseNet121Encoder(3, P, weights="random", size=48, chunk=2).eval()
    other.load_state_dict(reference.state_dict())
    small = torch.nn.functional.interpolate(patches().float(), (48, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(other(patches()), reference(small), rtol=1e-4, atol=1e-4)
    assert other.arguments == {
        "weights": "random",
        "size": 48,
        "chunk": 2,
        "origin": "random",
        "scaling": "imagenet",
    }


def test_colors_are_scaled_by_the_training_patches_or_by_imagenet(reference: DenseNet121Encoder) -> None:
    other = DenseNet121Encoder(3, P, weights="random", scaling="training").eval()
    other.load_state_dict(reference.state_dict())
    assert (reference.takes, other.takes) == ("pixels", "normalized")
    scaled = (patches() / 255 - torch.tensor(module.IMAGENET[0])[:, None, None]) / torch.tensor(module.IMAGENET[1])[
        :, None, None
    ]
    torch.testing.assert_close(other(scaled), reference(patches()), rtol=1e-4, atol=1e-4)
    assert DenseNet121Encoder(3, P, **other.arguments).takes == "normalized"
    with pytest.raises(ValueError, match=r"Unknown scaling='mine'\. Choose one of: imagenet, training\."):
        DenseNet121Encoder(3, P, weights="random", scaling="mine")


@pytest.mark.parametrize("weights", ["auto", "imagenet"])
def test_published_weights_are_downloaded_once(
    weights: str, server: tuple[Path, list[str]], reference: DenseNet121Encoder
) -> None:
    path, requests = server
    first = DenseNet121Encoder(3, P, weights=weights).eval()
    second = DenseNet121Encoder(3, P, weights=weights).eval()
    assert requests == [f"/{path.name}"]
    for encoder in (first, second):
        assert torch.equal(encoder(patches()), reference(patches()))
        assert encoder.origin == f"ImageNet ({module.URL})"
    # A saved model is built again without the network, and still knows.
    requests.clear()
    again = DenseNet121Encoder(3, P, **first.arguments)
    assert again.origin == first.origin
    assert not requests
    assert not torch.equal(again.eval()(patches()), reference(patches()))


def test_another_file_at_the_address_is_refused(server: tuple[Path, list[str]]) -> None:
    server[0].write_bytes(b"<html>sign in</html>")
    with pytest.raises(ConnectionError, match=r"could not be downloaded: invalid hash value .*set weights=FILE"):
        DenseNet121Encoder(3, P, weights="imagenet")


def test_without_a_network_auto_stays_random_and_says_so(
    server: tuple[Path, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    server[0].unlink()
    with pytest.raises(ConnectionError, match=r"http://127.*\.pth could not be downloaded: HTTP Error 404.*'random'"):
        DenseNet121Encoder(3, P, weights="imagenet")
    with caplog.at_level(logging.WARNING, logger=module.__name__):
        encoder = DenseNet121Encoder(3, P)
    assert encoder.origin.startswith("random: ImageNet weights could not be downloaded (HTTP Error 404")
    assert "DenseNet-121 starts from random weights. http://127" in caplog.text
    assert encoder.arguments["origin"] == encoder.origin


def test_a_refused_connection_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "URL", "http://127.0.0.1:9/densenet121-00000000.pth")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert "refused" in DenseNet121Encoder(3, P, weights="auto").origin


@pytest.mark.parametrize("style", ["norm.1", "norm1", "layers.norm1"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(style: str, suffix: str, tmp_path: Path, reference: DenseNet121Encoder) -> None:
    from safetensors.torch import save_file

    state = (
        {f"features.{name}": value for name, value in reference.net[1].state_dict().items()}
        if style == "layers.norm1"
        else torchvision_names(reference, style)
    )
    path = tmp_path / f"densenet{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    encoder = DenseNet121Encoder(3, P, weights=str(path)).eval()
    assert torch.equal(encoder(patches()), reference(patches()))
    assert encoder.origin == f"file {path.name}"


def test_files_that_do_not_fit(tmp_path: Path, reference: DenseNet121Encoder) -> None:
    path = tmp_path / "weights.pth"

    def refused(state: object, message: str) -> None:
        torch.save(state, path)
        with pytest.raises(ValueError, match=message):
            DenseNet121Encoder(3, P, weights=str(path))

    state = torchvision_names(reference)
    gone = {name: value for name, value in state.items() if "denseblock2.denselayer3.conv.2" not in name}
    refused(gone, r"1 of 604 are missing.*denselayer3.layers.conv2.weight is shape \[32, 128, 3, 3\].*has nothing")
    shape = state | {"features.norm5.bias": torch.zeros(1000)}
    refused(shape, r"1 of 604 .* 0 are unexpected.*features.norm5.bias is shape \[1024\], the file has shape \[1000\]")
    more = state | {"features.denseblock4.denselayer17.norm.1.bias": torch.zeros(3)}
    refused(more, r"0 of 604 .* 1 are unexpected.*denselayer17.* is nothing, the file has shape \[3\]")
    refused({f"model.{name}": value for name, value in state.items()}, "604 of 604 are missing")
    refused([1, 2], r"must hold a dictionary of tensors \(a state dict\), got list")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_cannot_be_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(FileNotFoundError, match=r"weights='.*weights\..*' is neither 'auto', 'imagenet', 'random' nor"):
        DenseNet121Encoder(3, P, weights=str(path))
    for content in (b"", b"not weights"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.(pth cannot be read as|safetensors is not a safetensors file)"):
            DenseNet121Encoder(3, P, weights=str(path))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    torch.save({"features.conv0.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint without executing code"):
        DenseNet121Encoder(3, P, weights=str(tmp_path / "bomb.pth"))
    assert not (tmp_path / "exploded").exists()


def test_small_patches_need_a_size() -> None:
    with pytest.raises(ValueError, match="29 pixels or more, got 28; set size to resize them"):
        DenseNet121Encoder(3, 28, weights="random")
    x = torch.zeros(1, 3, 29, 29)
    assert DenseNet121Encoder(3, 29, weights="random").eval()(x).shape == (1, 1024)


def test_without_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets.densenet", None)
    with pytest.raises(ImportError, match=r"needs MONAI .*pip install 'hist2st_pyg\[bench\]'"):
        DenseNet121Encoder(3, P)
