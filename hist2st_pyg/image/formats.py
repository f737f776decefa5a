"""The class that reads each file format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.image.array import ArrayImage
from hist2st_pyg.image.base import FileImage, HistologyImage
from hist2st_pyg.image.openslide import OpenSlideImage
from hist2st_pyg.image.raster import RasterImage
from hist2st_pyg.image.tiff import TiffImage

FORMATS: dict[str, type[FileImage]] = {
    ".jpg": RasterImage,
    ".jpeg": RasterImage,
    ".png": RasterImage,
    # tifffile reads any TIFF by regions. If only OpenSlide can arrange its tiles (Trestle, Ventana), open it as
    # OpenSlideImage(path).
    ".tif": TiffImage,
    ".tiff": TiffImage,
    **dict.fromkeys(
        (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm"), OpenSlideImage
    ),
}


def open_image(image: HistologyImage | NDArray[Any] | str | Path) -> HistologyImage:
    """Open a file or wrap an array as a :class:`HistologyImage`.

    Args:
        image: An array uint8 [height, width, 3], the path of a JPEG, PNG or TIFF file or of a slide that OpenSlide
            reads, or a :class:`HistologyImage`.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If ``image`` is none of these.
        ValueError: If the file's format is not supported.
    """
    if isinstance(image, HistologyImage):
        return image
    if isinstance(image, np.ndarray):
        return ArrayImage(image)
    if not isinstance(image, str | Path):
        raise TypeError(f"An image must be an array, a path or a HistologyImage, got {type(image).__name__}.")
    suffix = Path(image).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{image}: image format {suffix!r} is not supported; use one of {', '.join(FORMATS)}.")
    return FORMATS[suffix](image)
