"""A SpatialData store of six spots on an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from numpy.typing import NDArray

pytest.importorskip("spatialdata")


import pytest
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, ShapesModel, TableModel
from spatialdata.transformations import Affine, BaseTransformation, Identity

from hist2st_pyg import Section, load_sections

WIDTH, HEIGHT = 240, 160
NAMES = [f"s{i}" for i in range(6)]
PIXELS = np.array([[40.0, 30], [100, 30], [160, 30], [40, 90], [100, 90], [160, 90]])
"""Where the spots are in the image, whatever the transformations."""
COUNTS = np.arange(18).reshape(6, 3)
XY = ("x", "y")


def affine(degrees: float, scale: float, x: float, y: float) -> Affine:
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return Affine(np.array([[c, -s, x], [s, c, y], [0, 0, 1]]), XY, XY)


def apply(transformation: BaseTransformation, points: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = transformation.to_affine_matrix(XY, XY)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def picture() -> NDArray[np.uint8]:
    """Noise with a dark square on each spot, [3, height, width]."""
    pixels = np.random.default_rng(0).integers(150, 250, (3, HEIGHT, WIDTH), dtype=np.uint8)
    for x, y in PIXELS.astype(int):
        pixels[:, y - 4 : y + 5, x - 4 : x + 5] = [[[10]], [[20]], [[30]]]
    return pixels


def he(to: BaseTransformation | None = None, system: str = "global", **options: Any) -> Any:
    pixels = options.pop("pixels", picture())
    channels = options.pop("channels", ["r", "g", "b"])
    transformations = {system: to or Identity()}
    return Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=channels, transformations=transformations, **options
    )


def circles(pos: NDArray[np.float64] = PIXELS, to: BaseTransformation | None = None, **options: Any) -> Any:
    settings = {"radius": 8.0, "index": NAMES, "transformations": {"global": to or Identity()}, **options}
    return ShapesModel.parse(pos, geometry=0, **settings)


def annotation(shapes: str = "spots", instances: list[Any] = NAMES, order: Any = slice(None), **parts: Any) -> AnnData:
    adata = AnnData(**{"X": COUNTS.astype(np.float32), "obs": pd.DataFrame(index=NAMES), **parts})
    adata.var_names = ["g1", "g2", "g3"]
    adata.obs["element"], adata.obs["spot"] = pd.Categorical([shapes] * 6), instances
    return TableModel.parse(adata[order].copy(), region=shapes, region_key="element", instance_key="spot")


def write(path: Path, **changes: Any) -> Path:
    """A store of six spots; the keyword arguments replace its elements."""
    parts = {"images": {"he": he()}, "shapes": {"spots": circles()}, "tables": {"table": annotation()}, **changes}
    SpatialData(**parts).write(path)
    return path


def load(path: Path, **options: Any) -> Section:
    (section,) = load_sections("spatialdata", path, **options)
    return section
