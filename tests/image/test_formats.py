from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from _helpers.image_files import WRITERS, picture, read
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg.image import (
    FORMATS,
    ArrayImage,
    OpenSlideImage,
    RasterImage,
    TiffImage,
    image_name,
    images_in,
    open_image,
)


def test_whatever_a_user_has_is_wrapped(tmp_path: Path) -> None:
    (tmp_path / "slide.svs").touch()
    kinds = {"image.png": RasterImage, "image.jpg": RasterImage, "plain.tif": TiffImage, "slide.svs": OpenSlideImage}
    for name, kind in kinds.items():
        WRITERS.get(name, Path.touch)(tmp_path / name)
        assert type(open_image(tmp_path / name)) is type(open_image(str(tmp_path / name))) is kind
        assert name in repr(open_image(tmp_path / name))
    image = ArrayImage(picture())
    assert open_image(image) is image


def test_every_scanner_has_its_suffix() -> None:
    slides = [suffix for suffix, kind in FORMATS.items() if kind is OpenSlideImage]
    assert {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".bif", ".svslide"} <= set(slides)


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


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="An image must be an array, a path or a HistologyImage, got list"):
        open_image([[1, 2]])  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"There is no image file .*nowhere\.png"):
        open_image(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"'\.bmp' is not supported; use one of .jpg, .jpeg, .png, .tif, .*\.svs"):
        open_image(tmp_path / "slide.bmp")


@pytest.mark.parametrize(
    "suffix", [".btf", ".tf8", ".tf2", ".TIF", ".Tiff", ".ome.tif", ".OME.TIF", ".ome.btf", ".ome.tiff"]
)
def test_tiff_by_any_of_its_names(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"A1{suffix}"
    tifffile.imwrite(path, picture(), photometric="rgb", bigtiff=True)
    np.testing.assert_array_equal(read(open_image(path)), picture())
    assert image_name(path) == "A1"
    (tmp_path / "A1.txt").touch()
    (tmp_path / ".A1.tif").touch()
    assert images_in(tmp_path) == images_in(tmp_path, "A1") == [path]
    assert images_in(tmp_path, "A") == []


def test_the_name_of_what_is_no_image_is_none() -> None:
    assert image_name(Path("A1.txt")) is None
    assert image_name(Path("A1.ome.png")) == "A1.ome"
