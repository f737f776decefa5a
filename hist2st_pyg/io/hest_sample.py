"""Find and read the files of one sample in HEST's layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.image import HistologyImage, Pixels, images_in, open_image
from hist2st_pyg.image.base import three_channels
from hist2st_pyg.io.anndata import first, libraries, plane_positions, positive, scale_factors
from hist2st_pyg.patients import patient_name
from hist2st_pyg.utils.json_files import read_json_object

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

COLUMNS = (("x_pixel", "y_pixel"), ("pxl_col_in_fullres", "pxl_row_in_fullres"))
"""Names of the columns of ``obs`` with x and y."""

RESOLUTIONS = ("pixel_size_um_estimated", "pixel_size_um_embedded")
"""µm per pixel in the metadata, in order of preference."""

THUMBNAIL_PIXELS = 512
"""Longest side of the picture for tissue detection, in pixels."""


@dataclass(frozen=True)
class Sample:
    """One sample.

    Args:
        root: The folder that holds ``st``, ``wsis``, ``patches`` and ``metadata``.
        name: The sample's id.
    """

    root: Path
    name: str

    def __str__(self) -> str:
        return f"hest {self.name}"

    @property
    def path(self) -> Path:
        """The file of counts and positions."""
        return self.root / "st" / f"{self.name}.h5ad"

    def slide(self) -> HistologyImage | None:
        """The slide; None if there is no file.

        Raises:
            ValueError: If there is more than one.
        """
        found = images_in(self.root / "wsis", self.name)
        if len(found) > 1:
            raise ValueError(f"{found[0]} and {found[1]} are slides of the same sample; keep one.")
        return open_image(found[0]) if found else None

    def patches(self) -> Path | None:
        """The file of patches; None if there is none."""
        path = self.root / "patches" / f"{self.name}.h5"
        return path if path.is_file() else None

    @property
    def metadata_path(self) -> Path:
        """The metadata's file."""
        return self.root / "metadata" / f"{self.name}.json"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata; empty if there is no file."""
        if not self.metadata_path.is_file():
            logger.info("%s has no metadata: there is no file %s", self, self.metadata_path)
            return {}
        return read_json_object(self.metadata_path)

    def _number(self, key: str) -> float | None:
        return positive(self.metadata, key, f"{self.metadata_path}: {key}")

    def um_per_pixel(self) -> float | None:
        """Resolution of the slide in µm per pixel; None if unknown."""
        return first(*map(self._number, RESOLUTIONS))

    def spot_diameter(self, um_per_pixel: float | None) -> float | None:
        """Diameter of the spots in pixels; None if it or the resolution is unknown."""
        diameter = self._number("spot_diameter")
        return None if diameter is None or um_per_pixel is None else diameter / um_per_pixel

    @cached_property
    def patient(self) -> str | None:
        """The patient; None if the metadata name none."""
        return patient_name(self.metadata.get("patient"), f"{self.metadata_path}: patient")

    @property
    def study(self) -> str:
        """The title of the study."""
        return str(self.metadata.get("dataset_title"))

    def positions(self, adata: AnnData) -> NDArray[np.float64]:
        """Spot centers as in the file, [N, 2]: ``obsm["spatial"]``, else columns of ``obs``.

        Raises:
            ValueError: If there are none, or one is not a finite number.
        """
        pair = next((pair for pair in COLUMNS if all(column in adata.obs for column in pair)), None)
        if "spatial" in adata.obsm:
            pos = plane_positions(adata.obsm["spatial"], adata, f"{self.path}: obsm['spatial']")
            if pair == COLUMNS[0]:
                self._compare(pos, self._columns(adata, pair))
            return pos
        if pair is None:
            raise ValueError(
                f"{self.path} has no obsm['spatial'] (x right, y down, in pixels of the slide), and its obs has no "
                f"{', '.join(COLUMNS[0])}: {', '.join(adata.obs.columns) or 'no columns'}."
            )
        logger.info("%s has no obsm['spatial']; positions are read from obs %s", self, ", ".join(pair))
        return self._columns(adata, pair)

    def _columns(self, adata: AnnData, pair: tuple[str, str]) -> NDArray[np.float64]:
        return plane_positions(adata.obs[list(pair)], adata, f"{self.path}: obs {', '.join(pair)}")

    def _compare(self, pos: NDArray[np.float64], columns: NDArray[np.float64]) -> None:
        """Warn if the columns of ``obs`` differ from the positions; the slide decides which order is correct."""
        if np.abs(pos - columns).max() > 1:
            swapped = np.abs(pos - columns[:, ::-1]).max() <= 1
            relation = "has x and y swapped compared with" if swapped else "differs from"
            logger.warning("%s: obs %s %s obsm['spatial'], which is read", self, ", ".join(COLUMNS[0]), relation)

    def picture(self, slide: HistologyImage | None, adata: AnnData) -> tuple[Pixels | None, tuple[int, int] | None]:
        """A small picture of the slide, and the slide's width and height; None if unknown.

        Without the slide, the picture is the one that HEST stores with the counts, and the size is the metadata's.
        """
        if slide is not None:
            return slide.thumbnail(THUMBNAIL_PIXELS), slide.size
        width, height = (self._number(f"fullres_px_{side}") for side in ("width", "height"))
        size = None if width is None or height is None else (round(width), round(height))
        key = "tissue_downscaled_fullres_scalef"
        for library in libraries(adata).values():
            images = library.get("images")
            picture = np.asarray(images.get("downscaled_fullres") if isinstance(images, Mapping) else None)
            scale = positive(scale_factors(library), key, f"{self.path}: {key}")
            if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] in (3, 4) and scale:
                return three_channels(picture), size or (
                    round(picture.shape[1] / scale),
                    round(picture.shape[0] / scale),
                )
        return None, size


def find_samples(root: Path) -> dict[str, Sample]:
    """The samples in a folder, by their ids.

    Raises:
        FileNotFoundError: If the folder is not in HEST's layout.
    """
    if not (root / "st").is_dir():
        raise FileNotFoundError(f"{root} is not in HEST's layout: it has no folder st with <id>.h5ad files.")
    return {path.stem: Sample(root, path.stem) for path in (root / "st").glob("[!.]*.h5ad")}
