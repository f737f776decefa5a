"""What OME-XML says of one image of several."""

from __future__ import annotations

from pathlib import Path

import tifffile
from _helpers.image_files import HEIGHT, WIDTH, picture

from hist2st_pyg.image import open_image


def test_the_largest_image_of_an_ome_tiff_has_its_own_resolution(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.ome.tif") as tif:
        tif.write(
            picture()[::3, ::3], photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 9.0, "PhysicalSizeY": 9.0}
        )
        tif.write(picture(), photometric="rgb", metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5})
    image = open_image(tmp_path / "slide.ome.tif")
    assert (image.size, image.um_per_pixel) == ((WIDTH, HEIGHT), 0.5)
