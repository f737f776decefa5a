"""The files of a small sample of HEST-1k."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import tifffile
from anndata import AnnData
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csc_matrix

from _helpers.image_files import tissue as stained
from hist2st_pyg.datasets import load_sections
from hist2st_pyg.section import Section

WIDTH, HEIGHT = 400, 300
UM = 7.0  # µm per pixel, so that 112 µm are 16 pixels
SIDE, PIXELS = 16, 8  # a patch in the slide's pixels and in its own
COLUMN, ROW = (a.ravel() for a in np.meshgrid(np.arange(12), np.arange(8)))
POS = np.column_stack([40.0 + 24 * COLUMN, 24.0 + 24 * ROW])
NAMES = [f"{i:03}-1" for i in range(len(POS))]
COUNTS = np.random.default_rng(0).poisson(3, (len(POS), 5))


def picture() -> NDArray[np.uint8]:
    """White with tissue to the upper left, so that it shows which axis is which."""
    image = np.full((HEIGHT, WIDTH, 3), 245, dtype=np.uint8)
    image[10:210, 20:330] = stained(310, 200) // 4 + np.array([140, 60, 110], dtype=np.uint8)
    return image


def cut() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Patches [N, 8, 8, 3] and their upper left corners, as HEST cuts them."""
    corners = (POS - SIDE // 2).astype(np.int64)
    image = picture()
    crops = [Image.fromarray(image[y : y + SIDE, x : x + SIDE]).reduce(SIDE // PIXELS) for x, y in corners]
    return np.stack([np.asarray(crop) for crop in crops]), corners


def write_counts(root: Path, name: str = "A", **changes: Any) -> Path:
    parts: dict[str, Any] = {
        "X": csc_matrix(COUNTS.astype(np.float32)),
        "obs": pd.DataFrame({"array_col": COLUMN, "array_row": ROW}, index=NAMES),
        "var": pd.DataFrame(index=[f"g{i}" for i in range(5)]),
        "obsm": {"spatial": POS},
    }
    path = root / "st" / f"{name}.h5ad"
    path.parent.mkdir(parents=True, exist_ok=True)
    AnnData(**{**parts, **changes}).write_h5ad(path)
    return path


def write_slide(root: Path, name: str = "A") -> Path:
    path = root / "wsis" / f"{name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, picture(), photometric="rgb", tile=(64, 64))
    return path


def write_metadata(root: Path, name: str = "A", **values: Any) -> Path:
    path = root / "metadata" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pixel_size_um_estimated": UM, **values}))
    return path


def write_patches(root: Path, name: str = "A", attrs: dict[str, Any] | None = None, **changes: Any) -> Path:
    images, corners = cut()
    arrays = {"img": images, "coords": corners, "barcode": np.array(NAMES, dtype="S")[:, None], **changes}
    path = root / "patches" / f"{name}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            if values is not None:
                file[key] = values
        if "img" in file:
            file["img"].attrs.update(attrs or {})
    return path


def write_sample(root: Path) -> Path:
    """A sample with slide and metadata."""
    write_counts(root)
    write_slide(root)
    write_metadata(root, patient="Patient 1", spot_diameter=55.0, pixel_size_um_embedded=0.5)
    return root


def load(root: Path, **options: Any) -> Section:
    (section,) = load_sections("hest", root, **options)
    return section
