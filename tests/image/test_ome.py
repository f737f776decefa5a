"""What OME-XML says of one image of several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import tifffile
from _helpers.image_files import HEIGHT, WIDTH, picture

from hist2st_pyg.image import open_image
from hist2st_pyg.image.ome import channels, ome_pixels


def test_the_largest_image_of_an_ome_tiff_has_its_own_resolution(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.ome.tif") as tif:
        tif.write(
            picture()[::3, ::3], photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 9.0, "PhysicalSizeY": 9.0}
        )
        tif.write(picture(), photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    image = open_image(tmp_path / "slide.ome.tif")
    assert (image.size, image.um_per_pixel) == ((WIDTH, HEIGHT), 0.5)


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image><Pixels SizeX="3" SizeY="2" PhysicalSizeX="9"><Channel Name="small"/></Pixels></Image>'
    '<Image><Pixels SizeX="30" SizeY="20">'
    '<Channel Name="Channel 0" Color="-16776961"/><Channel Name=" C:1 " Color="65535"/>'
    '<Channel Name="DAPI" Color="blue"/><Channel Name="Cy3"/><Channel/>'
    "</Pixels></Image></OME>"
)


def series(**sizes: int) -> SimpleNamespace:
    """As tifffile has an image."""
    return SimpleNamespace(axes="".join(sizes), shape=tuple(sizes.values()))


def test_an_image_s_pixels_are_those_of_its_width_and_height_whatever_the_order_of_its_axes() -> None:
    for of_small in (series(Y=2, X=3), series(X=3, C=1, Y=2)):
        pixels = ome_pixels(OME, of_small)
        assert pixels is not None
        assert pixels.get("PhysicalSizeX") == "9"
    assert ome_pixels(OME, series(Y=3, X=2)) is None
    assert channels(OME, series(Y=3, X=2)) == ([], [])


def test_channels_that_are_only_numbered_have_no_name_and_colors_are_red_green_blue() -> None:
    names, colors = channels(OME, series(C=5, Y=20, X=30))
    assert names == ["", "", "DAPI", "Cy3", ""]
    assert colors == [0xFF0000, 0x0000FF, None, None, None]


def test_damaged_xml_is_an_error() -> None:
    with pytest.raises(ElementTree.ParseError, match="no element found"):
        ome_pixels("<OME>", series(Y=2, X=3))
