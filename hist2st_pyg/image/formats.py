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
    **dict.fromkeys((".tif", ".tiff", ".btf", ".tf8", ".tf2"), TiffImage),
    **dict.fromkeys(
        (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".czi", ".dcm"), OpenSlideImage
    ),
}

OME = ".ome"
"""The part of an OME-TIFF's name before its suffix."""


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


def image_name(path: Path) -> str | None:
    """The name of an image file without its suffix (of any case), and without ``.ome``; None for other files."""
    if path.suffix.lower() not in FORMATS or path.name.startswith("."):
        return None
    stem = path.stem
    return stem[: -len(OME)] if FORMATS[path.suffix.lower()] is TiffImage and stem.lower().endswith(OME) else stem


def images_in(folder: Path, name: str | None = None) -> list[Path]:
    """The images in a folder, sorted; if a name is given, only those of that name."""
    names = {path: image_name(path) for path in sorted(folder.glob("*")) if path.is_file()}
    return [path for path, own in names.items() if own is not None and name in (None, own)]
