from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _helpers.image_files import HEIGHT, WIDTH, WRITERS, picture, read
from PIL import Image, ImageOps

from hist2st_pyg.image import open_image
from hist2st_pyg.image import raster as module
from hist2st_pyg.utils import reading


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
def test_gray_and_indexed_pngs_become_rgb(tmp_path: Path, mode: str) -> None:
    converted = Image.fromarray(picture()).convert(mode)
    converted.save(tmp_path / "image.png")
    np.testing.assert_array_equal(read(open_image(tmp_path / "image.png")), np.asarray(converted.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_turned_photograph_has_the_size_of_its_pixels(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / f"image{suffix}", exif=exif)
    image = open_image(tmp_path / f"image{suffix}")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"image{suffix}")))
    assert (expected.shape == (HEIGHT, WIDTH, 3)) == (orientation < 5)
    assert image.size == expected.shape[1::-1]
    np.testing.assert_allclose(read(image), expected, atol=1)
    assert image.thumbnail().shape == expected.shape


def test_deep_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(256 * picture()[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png .*8-bit"):
        read(open_image(tmp_path / "deep.png"))


def test_a_small_png_of_a_huge_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (3000, 2000), "white").save(tmp_path / "bomb.png")
    monkeypatch.setattr(reading, "UNPACKED_BYTES", 2**20)
    monkeypatch.setattr(reading, "UNPACKED_RATIO", 100)
    image = open_image(tmp_path / "bomb.png")
    for use in (image.thumbnail, lambda: read(image)):
        with pytest.raises(ValueError, match=r"bomb\.png .*unpacks to 0\.0 GiB or more.*set HIST2ST_UNPACKED_GIB"):
            use()
    monkeypatch.setenv("HIST2ST_UNPACKED_GIB", "0.1")
    assert read(image).shape == (2000, 3000, 3)


def test_the_peak_of_decoding_is_what_the_limit_counts(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png", compress_level=0)
    code = (
        "import resource, sys; from hist2st_pyg.image import open_image; image = open_image(sys.argv[1]); image.size\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with image.open(): pass\n"
        "print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))"
    )
    taken = subprocess.run([sys.executable, "-c", code, tmp_path / "large.png"], capture_output=True, text=True)
    assert int(taken.stdout) < 1.25 * module.DECODED_BYTES * 3000 * 4000


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is text, not an image" * 10)
    with pytest.raises(ValueError, match=rf"{name} is damaged or not a JPEG or PNG image"):
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
