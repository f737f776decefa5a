"""Pyramids of TIFF files, laid out in each of the usual ways, and several images in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from _helpers.image_files import HEIGHT, WIDTH, picture, pyramid, read, tissue

from hist2st_pyg.image import open_image

TILES: dict[str, Any] = {"photometric": "rgb", "tile": (16, 16)}


def write_subifds(path: Path, levels: list[Any], **options: Any) -> None:
    with tifffile.TiffWriter(path) as tif:
        tif.write(levels[0], subifds=len(levels) - 1, **{**TILES, **options})
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **{**TILES, **options})


def write_pages(path: Path, levels: list[Any], **options: Any) -> None:
    with tifffile.TiffWriter(path) as tif:
        for number, level in enumerate(levels):
            tif.write(level, subfiletype=int(number > 0), metadata=None, **{**TILES, **options})


def write_ome(path: Path, levels: list[Any], axes: str = "YXS", **options: Any) -> None:
    settings: dict[str, Any] = {**TILES, **options}
    if axes == "CYX":
        settings["photometric"] = "minisblack"
    if axes == "SYX":
        settings["planarconfig"] = "separate"
    if axes != "YXS":
        levels = [level.transpose(2, 0, 1) for level in levels]
    with tifffile.TiffWriter(path, ome=True) as tif:
        metadata = {"axes": axes, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        tif.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **settings)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **settings)


PYRAMIDS: dict[str, Any] = {
    "subifds.tif": write_subifds,
    "pages.tiff": write_pages,
    "rgb.ome.tif": write_ome,
    "planes.ome.tif": lambda path, levels: write_ome(path, levels, "SYX"),
    "channels.ome.tiff": lambda path, levels: write_ome(path, levels, "CYX"),
    "strips.tif": lambda path, levels: write_pages(path, levels, tile=None, rowsperstrip=7, compression="deflate"),
}


@pytest.mark.parametrize("name", PYRAMIDS)
def test_every_level_of_a_pyramid_is_read(tmp_path: Path, name: str) -> None:
    levels = pyramid(tissue(301, 203), (1, 2, 4))
    PYRAMIDS[name](tmp_path / name, levels)
    image = open_image(tmp_path / name)
    assert image.size == (301, 203)
    assert image.level_sizes == ((301, 203), (150, 101), (75, 50))
    assert image.level_downsamples == (1.0, 2.0, 4.0)
    assert image.um_per_pixel == (0.25 if ".ome." in name else None)
    for level, pixels in enumerate(levels):
        np.testing.assert_array_equal(read(image, level), pixels)
        with image.open(level) as region:
            np.testing.assert_array_equal(region(33, 21, 40, 17), pixels[21:38, 33:73])
    with pytest.raises(ValueError, match=rf"{name}'\) has the levels 0 to 2, got level=3"), image.open(3):
        pass


def test_a_thumbnail_of_a_pyramid_reads_the_level_it_needs(tmp_path: Path) -> None:
    # The smaller levels are of another color, so that it shows which one is read.
    gray = [np.full((HEIGHT // f, WIDTH // f, 3), color, np.uint8) for f, color in ((2, 80), (4, 40))]
    write_subifds(tmp_path / "pyramid.tif", [picture(), *gray])
    image = open_image(tmp_path / "pyramid.tif")
    for longest, color in ((60, 40), (75, 40), (76, 80), (150, 80)):
        assert np.unique(image.thumbnail(longest)).tolist() == [color]
    assert image.thumbnail(151).max() > 150
    np.testing.assert_array_equal(image.thumbnail(1000), picture())


def test_the_largest_image_is_read_wherever_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    macro = np.full((60, 50, 3), 7, np.uint8)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as tif:
        tif.write(macro, photometric="rgb", metadata=None)
        tif.write(picture()[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
        tif.write(picture(), metadata=None, resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **TILES)
    image = open_image(tmp_path / "slide.tif")
    np.testing.assert_array_equal(read(image), picture())
    assert image.um_per_pixel == pytest.approx(0.5)
    assert "slide.tif: reading the largest of its 3 images" in caplog.text


def test_images_of_one_size_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.ome.tif") as tif:
        for _ in range(2):
            tif.write(picture(), photometric="rgb", metadata={"axes": "YXS"})
    with pytest.raises(ValueError, match=r"two\.ome\.tif holds 2 images of \(130, 300, 3\)"):
        _ = open_image(tmp_path / "two.ome.tif").size


def test_a_reduced_page_of_another_shape_is_no_level(tmp_path: Path) -> None:
    write_pages(tmp_path / "slide.tif", [picture(), picture()[::2, ::2], np.zeros((40, 30, 3), np.uint8)])
    assert open_image(tmp_path / "slide.tif").level_sizes == ((WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2))
