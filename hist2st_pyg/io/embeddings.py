"""Precomputed embeddings of spots, in place of patches."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.section import Section
from hist2st_pyg.utils.array_places import spot_pitch
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.reading import check_hdf5, check_unpacked, reading

KIND = "a file of embeddings"

NAMES = ("barcodes", "names")
"""Names of the array of spot names; the first is HEST's."""

FEATURES, COORDS = "features", "coords"
"""TRIDENT's and CLAM's names of the patches' embeddings and upper left corners."""


def section_embedding(section: Section, key: str) -> NDArray[np.float32]:
    """A section's embeddings, float32 [N, D].

    Raises:
        ValueError: If the section has none of this name, or a value is not finite.
    """
    if key not in section.adata.obsm:
        raise ValueError(
            f"Section {section.name!r} has no obsm[{key!r}]; it has {', '.join(section.adata.obsm)}. Add it, "
            "or name a folder of <section>.npz or .h5 files."
        )
    values = np.array(section.adata.obsm[key], dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"Section {section.name!r}: obsm[{key!r}] must be finite, [N, D], got {list(values.shape)}.")
    return values


def read_embeddings(sections: Sequence[Section], folder: str | Path) -> None:
    """Read ``<folder>/<section>.npz`` or ``.h5`` into each section's ``obsm[<the folder's name>]``.

    A file holds ``embeddings`` [M, D] and the spots' names as ``barcodes`` (as HEST writes them) or ``names`` [M];
    their order does not matter and there may be more spots than the section has. Or it holds ``features`` [M, D] and
    ``coords`` [M, 2], as TRIDENT and CLAM write them (``.h5``): a spot then takes the features of the patch that it
    lies in, see :func:`patches_of_spots`.

    Args:
        sections: The sections.
        folder: The folder.

    Raises:
        FileNotFoundError: If a section has no file.
        ValueError: If a file lacks an array or a spot, or holds features without positions (CLAM's ``.pt``).
    """
    folder = Path(folder)
    for section in sections:
        stem = file_name(section.name)
        paths = [path for suffix in (".npz", ".h5") if (path := folder / f"{stem}{suffix}").is_file()]
        if not paths:
            if (features := folder / f"{stem}.pt").is_file():
                raise ValueError(
                    f"{features} holds features without the positions of their patches, so they cannot be joined to "
                    "spots; use the .h5 of the same name (CLAM's folder h5_files), with 'features' and 'coords'."
                )
            raise FileNotFoundError(f"{folder} has neither {stem}.npz nor {stem}.h5.")
        file = _read(paths[0])
        if isinstance(file, _Named):
            embeddings, rows = file.embeddings, np.array(_named_rows(file, section, paths[0]))
        else:
            embeddings = file.features
            try:
                rows = patches_of_spots(section.pos, file.corners, file.size)
            except ValueError as error:
                raise ValueError(f"{paths[0]}: section {section.name!r}: {error}") from error
        section.adata.obsm[folder.name] = np.asarray(embeddings, dtype=np.float32)[rows]


def patches_of_spots(pos: NDArray[np.float64], corners: NDArray[np.float64], size: float) -> NDArray[np.int64]:
    """Find the patch that each spot lies in, the one with the nearest center if there are several.

    Args:
        pos: Spot centers x, y in pixels of the full resolution, [N, 2].
        corners: Upper left corners of the patches, likewise, [M, 2].
        size: Side of a patch in these pixels.

    Returns:
        A row of the patches for each spot, [N].

    Raises:
        ValueError: If spots lie in no patch; the message says how many.
    """
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(corners + size / 2).query(pos, p=np.inf)
    outside = distance > size / 2
    if outside.any():
        spot = int(distance.argmax())
        x, y = pos[spot]
        raise ValueError(
            f"{int(outside.sum())} of the {len(pos)} spots lie in none of the {len(corners)} patches of {size:g} px; "
            f"the farthest, at x={x:.1f}, y={y:.1f}, is {distance[spot]:.1f} px from the nearest patch's center. "
            "Check that they are of this slide, in pixels of its full resolution, and cover the spots."
        )
    return np.asarray(nearest, dtype=np.int64)


class _Named(NamedTuple):
    """Embeddings [M, D] and the spots' names [M]."""

    embeddings: NDArray[Any]
    names: list[str]


class _Placed(NamedTuple):
    """Features of patches [M, D], their upper left corners [M, 2] and their side, in pixels."""

    features: NDArray[Any]
    corners: NDArray[np.float64]
    size: float


def _named_rows(file: _Named, section: Section, path: Path) -> list[int]:
    row = {str(name): i for i, name in enumerate(file.names)}
    spots = [str(name) for name in section.adata.obs_names]
    if missing := [name for name in spots if name not in row]:
        raise ValueError(
            f"{path} lacks {len(missing)} of the {len(spots)} spots of section {section.name!r}, for example "
            f"{missing[0]!r}."
        )
    return [row[name] for name in spots]


def _read(path: Path) -> _Named | _Placed:
    attributes: dict[str, Any] = {}
    if path.suffix == ".npz":
        with reading(path, KIND), zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        check_unpacked(path, path.stat().st_size, unpacked)
        with reading(path, KIND), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    else:
        import h5py

        check_hdf5(path, KIND)
        with reading(path, KIND), h5py.File(path, "r") as file:
            arrays = {name: file[name][()] for name in file if hasattr(file[name], "shape")}
            attributes = dict(file[COORDS].attrs) if COORDS in arrays else {}
    if {FEATURES, COORDS} <= set(arrays):
        return _placed(arrays, attributes, path)
    names = next((arrays[name] for name in NAMES if name in arrays), None)
    if "embeddings" not in arrays or names is None:
        raise ValueError(
            f"{path} must hold 'embeddings' and 'barcodes' (or 'names'), or 'features' and 'coords', got "
            f"{', '.join(arrays) or 'nothing'}."
        )
    flat = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(names)]
    embeddings = _matrix(arrays["embeddings"], "embeddings", len(flat), "names", path)
    return _Named(embeddings, flat)


def _matrix(values: NDArray[Any], what: str, rows: int, of: str, path: Path) -> NDArray[Any]:
    if values.ndim != 2 or rows != len(values):
        raise ValueError(f"{path}: {what} must be [M, D] for M {of}, got {list(values.shape)} and {rows} {of}.")
    if values.dtype.kind not in "uif" or not values.shape[1]:
        raise ValueError(f"{path}: {what} must be numbers [spots, D], got {values.dtype} {list(values.shape)}.")
    return values


def _placed(arrays: dict[str, NDArray[Any]], attributes: dict[str, Any], path: Path) -> _Placed:
    features, coords = arrays[FEATURES], arrays[COORDS]
    if features.ndim == 3 and len(features) == 1:  # a batch of one slide
        features = features[0]
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "uif" or not len(coords):
        raise ValueError(f"{path}: coords must be numbers [M, 2], x and y, got {coords.dtype} {list(coords.shape)}.")
    features = _matrix(features, FEATURES, len(coords), "patches", path)
    corners = coords.astype(np.float64)
    if not np.isfinite(corners).all() or not np.isfinite(features).all():
        raise ValueError(f"{path}: features and coords must be finite numbers.")
    return _Placed(features, corners, _side(attributes, corners, path))


def _side(attributes: dict[str, Any], corners: NDArray[np.float64], path: Path) -> float:
    """The side of a patch at full resolution: as the file states it, else the distance of adjacent patches."""
    try:
        if "patch_size_level0" in attributes:  # TRIDENT's
            side = float(attributes["patch_size_level0"])
        elif "patch_size" in attributes:  # CLAM's, of the level that patches were read from
            side = float(attributes["patch_size"]) * float(np.max(attributes.get("downsample", 1.0)))
        else:
            side = spot_pitch(corners) if len(corners) > 1 else 0.0
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the size of a patch cannot be read from coords: {error}") from error
    if not 0 < side < np.inf:
        raise ValueError(f"{path}: the size of a patch must be above 0 px, got {side:g} (attributes of coords).")
    return side
