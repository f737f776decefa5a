from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from _helpers.image_files import picture, write_slide

from hist2st_pyg.image import open_image

PIXELS = np.zeros((40, 64, 3), np.uint8)


def resolution(path: Path, **options: Any) -> float | None:
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)
    return open_image(path).um_per_pixel


@pytest.mark.parametrize(
    ("per_unit", "unit", "expected"),
    [
        (20_000, "CENTIMETER", 0.5),
        (50_800, "INCH", 0.5),
        (40_000.5, "CENTIMETER", 0.25),
        (72, "INCH", None),
        (300, "INCH", None),
        (1, "CENTIMETER", None),
        (400_000, "CENTIMETER", None),  # 0.025 µm are no microscope's
        (20_000, "NONE", None),
    ],
)
def test_resolution_tags(tmp_path: Path, per_unit: float, unit: str, expected: float | None) -> None:
    got = resolution(tmp_path / "image.tif", resolution=(per_unit, per_unit), resolutionunit=unit)
    assert got == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_a_tiff_without_tags_says_no_resolution(tmp_path: Path) -> None:
    assert resolution(tmp_path / "image.tif") is None
    assert resolution(tmp_path / "zero.tif", resolution=((0, 1), (0, 1)), resolutionunit="CENTIMETER") is None


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [(0.25, "µm", 0.25), (250, "nm", 0.25), (2.5e-4, "mm", 0.25), (0.25, None, 0.25), (1, "pixel", None)],
)
def test_ome_xml(tmp_path: Path, size: float, unit: str | None, expected: float | None) -> None:
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
    if unit is not None:
        metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    # The tags say another; they are not asked.
    tags = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER"}
    got = resolution(tmp_path / "image.ome.tif", metadata=metadata, **tags)
    assert got == (None if expected is None else pytest.approx(expected))


def test_ome_xml_without_a_size(tmp_path: Path) -> None:
    assert resolution(tmp_path / "image.ome.tif", metadata={"axes": "YXS"}) is None


def test_damaged_ome_xml_leaves_the_resolution_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = "<OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06'><Image></OME>"
    assert resolution(tmp_path / "image.tif", description=damaged, metadata=None) is None
    assert "image.tif: its OME-XML is damaged (mismatched tag" in caplog.text


def test_aperios_description(tmp_path: Path) -> None:
    write_slide(tmp_path / "slide.tif", [PIXELS])
    assert open_image(tmp_path / "slide.tif").um_per_pixel == 0.499


@pytest.mark.parametrize(("y", "expected"), [(0.2515, 0.25075), (0.26, None), (0, None), (float("nan"), None)])
def test_pixels_that_are_not_square_have_no_resolution(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, y: float, expected: float | None
) -> None:
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": y}
    got = resolution(tmp_path / "image.ome.tif", metadata=metadata)
    assert got == (None if expected is None else pytest.approx(expected))
    said = {0.26: "are not square (0.25 x 0.26 µm); its resolution is taken as unknown", 0.2515: ""}
    assert said.get(y, "states pixels of 0.25 x ") in caplog.text
    assert bool(caplog.text) == (expected is None)


@pytest.mark.parametrize(
    ("dtype", "value", "unit", "expected"),
    [
        ("RATIONAL", (20_000, 1), 3, 0.5),
        ("DOUBLE", 20_000.0, 3, 0.5),
        ("FLOAT", 20_000.0, 3, 0.5),
        ("LONG", 20_000, 3, 0.5),
        ("ASCII", "20000", 3, 0.5),
        ("ASCII", "abc", 3, None),
        ("RATIONAL", (1, 0), 3, None),
        ("RATIONAL", (0, 1), 3, None),
        ("RATIONAL", (20_000, 1), 77, None),
        ("RATIONAL", (50_800, 1), 2, 0.5),
    ],
)
def test_resolution_tags_of_any_type(tmp_path: Path, dtype: str, value: Any, unit: int, expected: float | None) -> None:
    path = tmp_path / "r.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", resolution=(1, 1), resolutionunit="CENTIMETER", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        tags = tif.pages[0].tags
        for name in ("XResolution", "YResolution"):
            tags[name].overwrite(value, dtype=tifffile.DATATYPE[dtype])
        tags["ResolutionUnit"].overwrite(unit)
    assert open_image(path).um_per_pixel == (None if expected is None else pytest.approx(expected))
