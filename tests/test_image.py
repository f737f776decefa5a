from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg import image as module
from hist2st_pyg.image import ArrayImage, HistologyImage, RasterImage, TiffImage, open_image

WIDTH, HEIGHT = 300, 130


def picture() -> NDArray[np.uint8]:
    """Smooth, and different at each corner."""
    x, y = np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT)[:, None]
    colours = np.stack([200 * x + 0 * y, 220 * y + 0 * x, 90 + 60 * x * y], axis=-1)
    return np.rint(colours).astype(np.uint8)


def write_pyramid(path: Path) -> None:
    # The smaller levels are of another colour, so that it shows which one is read.
    with tifffile.TiffWriter(path) as tif:
        options: dict[str, Any] = {"photometric": "rgb", "tile": (16, 16)}
        tif.write(picture(), subifds=2, **options)
        tif.write(np.full((HEIGHT // 2, WIDTH // 2, 3), 80, np.uint8), subfiletype=1, **options)
        tif.write(np.full((HEIGHT // 4, WIDTH // 4, 3), 40, np.uint8), subfiletype=1, **options)


WRITERS: dict[str, Any] = {
    "image.png": lambda path: Image.fromarray(picture()).save(path),
    "image.jpg": lambda path: Image.fromarray(picture()).save(path, quality=100, subsampling=0),
    "plain.tif": lambda path: tifffile.imwrite(path, picture(), photometric="rgb"),
    "tiles.tif": lambda path: tifffile.imwrite(path, picture(), photometric="rgb", tile=(32, 32)),
    "strips.tif": lambda path: tifffile.imwrite(path, picture(), photometric="rgb", rowsperstrip=9),
}


@pytest.fixture(params=["array", *WRITERS])
def any_image(request: pytest.FixtureRequest, tmp_path: Path) -> HistologyImage:
    if request.param == "array":
        return open_image(picture())
    WRITERS[request.param](tmp_path / request.param)
    return open_image(tmp_path / request.param)


def test_size_and_regions(any_image: HistologyImage) -> None:
    assert any_image.size == (WIDTH, HEIGHT)
    with any_image.open() as region:
        for x, y, width, height in ((0, 0, WIDTH, HEIGHT), (250, 20, 40, 17), (299, 129, 1, 1)):
            pixels = region(x, y, width, height)
            assert pixels.shape == (height, width, 3)
            assert pixels.dtype == np.uint8
            np.testing.assert_allclose(pixels, picture()[y : y + height, x : x + width], atol=5)


@pytest.mark.parametrize("longest", [1024, 300, 100, 64])
def test_thumbnails(any_image: HistologyImage, longest: int) -> None:
    small = any_image.thumbnail(longest)
    height, width, _ = small.shape
    assert small.dtype == np.uint8
    # An upper bound: a TIFF is shrunk by a whole number.
    assert min(longest, WIDTH) / 2 < width <= longest
    assert height == pytest.approx(width * HEIGHT / WIDTH, abs=1)
    expected = np.asarray(Image.fromarray(picture()).resize((width, height), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - expected).max() <= 6  # the last row of blocks may be cut short


def test_a_thumbnail_of_a_pyramid_reads_the_level_it_needs(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "pyramid.tif")
    image = open_image(tmp_path / "pyramid.tif")
    assert image.size == (WIDTH, HEIGHT)
    with image.open() as region:
        np.testing.assert_array_equal(region(100, 50, 20, 10), picture()[50:60, 100:120])
    for longest, colour in ((60, 40), (75, 40), (76, 80), (150, 80)):
        assert np.unique(image.thumbnail(longest)).tolist() == [colour]
    assert image.thumbnail(151).max() > 150
    np.testing.assert_array_equal(image.thumbnail(1000), picture())


def test_a_thumbnail_of_a_large_tiff_is_made_band_by_band(tmp_path: Path) -> None:
    large = np.zeros((3000, 2500, 3), np.uint8)
    large[:, :, 0] = np.linspace(0, 250, 3000).astype(np.uint8)[:, None]
    tifffile.imwrite(tmp_path / "large.tif", large, photometric="rgb", tile=(256, 256), compression="deflate")
    small = open_image(tmp_path / "large.tif").thumbnail(50)
    assert small.shape == (50, 42, 3)
    np.testing.assert_allclose(small[:, 20, 0], np.linspace(0, 250, 3000).reshape(50, 60).mean(1), atol=2)


# Kinds of pixels.


def read(image: HistologyImage) -> NDArray[np.uint8]:
    with image.open() as region:
        return region(0, 0, *image.size)


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


def test_a_grey_tiff_becomes_rgb(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "grey.tif", picture()[..., 0], photometric="minisblack")
    image = open_image(tmp_path / "grey.tif")
    np.testing.assert_array_equal(read(image), np.repeat(picture()[..., :1], 3, axis=2))
    assert image.thumbnail(50).shape == (22, 50, 3)


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
    deep = 256 * picture().astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    with pytest.raises(ValueError, match=r"deep.tif holds uint16 with axes YXS; an 8-bit RGB or grey image"):
        _ = open_image(tmp_path / "deep.tif").size
    tifffile.imwrite(tmp_path / "planes.tif", picture().transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match=r"planes.tif holds uint8 with axes SYX"):
        _ = open_image(tmp_path / "planes.tif").size
    Image.fromarray(deep[..., 0]).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep.png .*8-bit"):
        read(open_image(tmp_path / "deep.png"))


# Memory.


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


def test_a_tiff_is_read_by_regions_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["tiles.tif"](tmp_path / "tiles.tif")
    monkeypatch.setattr(module, "memory_bytes", lambda: 1)
    image = open_image(tmp_path / "tiles.tif")
    decoded: list[int] = []
    original = tifffile.TiffPage.decode

    class Page(tifffile.TiffPage):
        @property
        def decode(self) -> Any:  # type: ignore[override]
            function = original.__get__(self)
            return lambda data, index, **options: (decoded.append(index), function(data, index, **options))[1]

    with image.open() as region:
        monkeypatch.setattr(tifffile.TiffPage, "decode", Page.decode)
        np.testing.assert_array_equal(region(40, 40, 8, 8), picture()[40:48, 40:48])
    assert len(decoded) <= 1  # one of fifty tiles


def test_the_machines_memory_is_plausible() -> None:
    assert 2**28 < module.memory_bytes() < 2**50


# Content and errors.


@pytest.mark.parametrize("name", ["array", *WRITERS])
def test_the_fingerprint_is_of_the_content(tmp_path: Path, name: str) -> None:
    def fingerprint(pixels: NDArray[np.uint8], folder: str) -> str:
        if name == "array":
            return open_image(pixels.copy()).fingerprint()
        path = tmp_path / folder / name
        path.parent.mkdir()
        if path.suffix == ".tif":
            tifffile.imwrite(path, pixels, photometric="rgb", datetime="2020:01:01 00:00:00")
        else:
            Image.fromarray(pixels).save(path)
        return open_image(path).fingerprint()

    other = picture()
    other[:50, :50] += 9
    assert fingerprint(picture(), "a") == fingerprint(picture(), "b") != fingerprint(other, "c")


def test_the_fingerprint_of_an_array_knows_its_shape() -> None:
    pixels = picture()
    assert ArrayImage(pixels).fingerprint() != ArrayImage(pixels.reshape(WIDTH, HEIGHT, 3)).fingerprint()
    assert ArrayImage(pixels[:, ::-1]).fingerprint() == ArrayImage(pixels[:, ::-1].copy()).fingerprint()


def test_whatever_a_user_has_is_wrapped(tmp_path: Path) -> None:
    for name, kind in (("image.png", RasterImage), ("image.jpg", RasterImage), ("plain.tif", TiffImage)):
        WRITERS[name](tmp_path / name)
        assert type(open_image(tmp_path / name)) is type(open_image(str(tmp_path / name))) is kind
        assert name in repr(open_image(tmp_path / name))
    image = ArrayImage(picture())
    assert open_image(image) is image


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"uint8 \(0 to 255\), got float64"):
        open_image(picture() / 255)
    for shape in ((5, 5), (5, 5, 4), (3, 5, 5)):
        with pytest.raises(ValueError, match=r"shape \[height, width, 3\], got"):
            open_image(np.zeros(shape, np.uint8))
    with pytest.raises(TypeError, match="An image is an array, a path or a HistologyImage, got list"):
        open_image([[1, 2]])  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"There is no image file .*nowhere\.png"):
        open_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"'\.svs' is not supported; use one of .jpg, .jpeg, .png, .tif, .tiff"):
        open_image(tmp_path / "slide.svs")


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.tif"])
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
