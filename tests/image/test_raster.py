from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _helpers.image_files import HEIGHT, WIDTH, WRITERS, picture, read
from PIL import Image

from hist2st_pyg.image import open_image
from hist2st_pyg.image import raster as module


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.dstack([picture(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "image.png")
    image = open_image(tmp_path / "image.png")
    for pixels in (read(image), image.thumbnail()):
        assert (pixels[:10] == 255).all()
        half = 255 - (255 - picture()[10:20].astype(float)) * 128 / 255
        np.testing.assert_allclose(pixels[10:20], half, atol=1)
        np.testing.assert_array_equal(pixels[20:], picture()[20:])


@pytest.mark.parametrize("mode", ["L", "P"])
def test_grey_and_indexed_pngs_become_rgb(tmp_path: Path, mode: str) -> None:
    converted = Image.fromarray(picture()).convert(mode)
    converted.save(tmp_path / "image.png")
    np.testing.assert_array_equal(read(open_image(tmp_path / "image.png")), np.asarray(converted.convert("RGB")))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_turned_photograph_has_the_size_of_its_pixels(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / f"image{suffix}", exif=exif)
    image = open_image(tmp_path / f"image{suffix}")
    upright = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    expected = np.rot90(picture(), upright)
    assert image.size == expected.shape[1::-1]
    np.testing.assert_allclose(read(image), expected, atol=12)
    assert image.thumbnail().shape == expected.shape


def test_deep_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(256 * picture()[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png .*8-bit"):
        read(open_image(tmp_path / "deep.png"))


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_an_image_too_large_for_the_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    WRITERS[name](tmp_path / name)
    needed = module.DECODING_BYTES * WIDTH * HEIGHT
    monkeypatch.setattr(module, "memory_bytes", lambda: int((needed - 1) / module.MEMORY_SHARE))
    image = open_image(tmp_path / name)
    assert image.size == (WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=rf"{name} is 300 x 130 px .*Convert it to a tiled TIFF"), image.open():
        pass
    monkeypatch.setattr(module, "memory_bytes", lambda: int(needed / module.MEMORY_SHARE) + 1)
    assert read(image).shape == (HEIGHT, WIDTH, 3)


def test_the_machines_memory_is_plausible() -> None:
    assert 2**28 < module.memory_bytes() < 2**50


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is text, not an image" * 10)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image"):
        _ = open_image(tmp_path / name).size


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    image = open_image(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read(image)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        image.thumbnail()
