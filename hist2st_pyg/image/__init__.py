"""Histology images, opened only when their pixels are needed.

JPEG and PNG files must be decoded whole, and are rejected if that needs more than a share of the machine's memory. TIFF
and scanners' slides are read by regions, from the required level of their pyramid.
"""

from hist2st_pyg.image.array import ArrayImage
from hist2st_pyg.image.base import FileImage, HistologyImage, Pixels, Region
from hist2st_pyg.image.formats import FORMATS, image_name, images_in, open_image
from hist2st_pyg.image.openslide import OpenSlideImage
from hist2st_pyg.image.raster import RasterImage
from hist2st_pyg.image.tiff import TiffImage

__all__ = [
    "FORMATS",
    "ArrayImage",
    "FileImage",
    "HistologyImage",
    "OpenSlideImage",
    "Pixels",
    "RasterImage",
    "Region",
    "TiffImage",
    "image_name",
    "images_in",
    "open_image",
]
