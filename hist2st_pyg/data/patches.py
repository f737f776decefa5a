"""Cutting a patch around each spot.

One rule at the border: the image is continued by reflection. A spot whose centre is not on the image is an error.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from hist2st_pyg.files import atomic_path
from hist2st_pyg.image import HistologyImage, Region

logger = logging.getLogger(__name__)
LAYOUT = 1
"""Changes when the same settings would give other pixels."""


def cut_patches(
    image: HistologyImage,
    pos: NDArray[np.float64],
    patch_size: int = 112,
    field: float | None = None,
    scales: Sequence[float] = (1.0,),
    cache: str | Path | None = None,
    name: str = "",
) -> NDArray[np.uint8]:
    """Cut one patch around each spot, or several of different fields of view.

    The image is decoded once. With ``cache`` the patches are kept in one file, keyed by the image's content, the
    positions and the settings, and come back as a memory map; whatever changes makes a new file.

    Args:
        image: The section's image.
        pos: Spot centres [N, 2] (x right, y down) in image pixels.
        patch_size: Side of the result, P, in pixels.
        field: Side of the field of view in image pixels; None means ``patch_size``, so no resampling.
        scales: Factors of the field of view; each adds three channels.
        cache: Folder of the cache, or None.
        name: The section's name, for errors and file names.

    Returns:
        uint8 [N, 3·S, P, P], channels first, RGB for each scale.

    Raises:
        ValueError: If a size is not positive or a spot's centre is not on the image.
    """
    sides = [(patch_size if field is None else field) * scale for scale in scales]
    if patch_size < 1 or not sides or min(sides) < 1:
        raise ValueError(
            f"Patches need at least one pixel, got patch_size={patch_size}, field={field}, scales={scales}."
        )
    _check_on_image(image, pos, name)
    if cache is None:
        return _cut(image, pos, patch_size, sides, name)
    key = hashlib.blake2b(digest_size=12)
    key.update(json.dumps([LAYOUT, image.fingerprint(), patch_size, sides]).encode())
    key.update(np.ascontiguousarray(pos, dtype=np.float64).tobytes())
    path = Path(cache) / f"{name or 'section'}-{key.hexdigest()}.npy"
    shape = (len(pos), 3 * len(sides), patch_size, patch_size)
    if not _is_whole(path, shape):
        patches = _cut(image, pos, patch_size, sides, name)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, patches, allow_pickle=False)
    # Copy-on-write: torch wants writable memory, the file stays as it is.
    return np.load(path, mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a cached file is there and complete; a damaged one is rebuilt, and the log says so."""
    if not path.is_file():
        return False
    try:
        if np.load(path, mmap_mode="r", allow_pickle=False).shape == shape:
            return True
    except (ValueError, OSError, EOFError) as error:
        logger.warning("The patch cache %s is damaged (%s) and is rebuilt.", path, error)
    return False


def _check_on_image(image: HistologyImage, pos: NDArray[np.float64], name: str) -> None:
    width, height = image.size
    outside = ~((pos >= 0) & (pos < [width, height])).all(1)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        swapped = ((pos >= 0) & (pos < [height, width])).all()
        hint = " With x and y swapped all spots would lie on it; check the order of the columns." if swapped else ""
        raise ValueError(
            f"Section {name!r}: {int(outside.sum())} of {len(pos)} spots are not on the image ({width} x {height} px), "
            f"spot {i} at x={pos[i, 0]:.1f}, y={pos[i, 1]:.1f} for one. Positions are pixels of this image.{hint}"
        )


def _cut(
    image: HistologyImage, pos: NDArray[np.float64], patch_size: int, sides: Sequence[float], name: str
) -> NDArray[np.uint8]:
    patches = np.empty((len(pos), 3 * len(sides), patch_size, patch_size), dtype=np.uint8)
    with image.open() as region:
        for i, (x, y) in enumerate(tqdm(pos, desc=f"patches of {name}", unit="spot", leave=False, disable=None)):
            for s, side in enumerate(sides):
                crop = _reflected(region, image.size, int(x), int(y), round(side))
                if len(crop) != patch_size:
                    resized = Image.fromarray(crop).resize((patch_size, patch_size), Image.Resampling.BILINEAR)
                    crop = np.asarray(resized)  # Pillow's bilinear filter averages when it shrinks
                patches[i, 3 * s : 3 * s + 3] = crop.transpose(2, 0, 1)
    return patches


def _reflected(region: Region, size: tuple[int, int], x: int, y: int, side: int) -> NDArray[np.uint8]:
    """The square of ``side`` pixels around (x, y), reflected where it leaves the image."""
    width, height = size
    left, top = x - side // 2, y - side // 2
    x0, y0 = max(left, 0), max(top, 0)
    # One pixel more than asked for, which the reflection of an even side at x = 0 or y = 0 reaches.
    x1, y1 = min(left + side + 1, width), min(top + side + 1, height)
    crop = region(x0, y0, x1 - x0, y1 - y0)
    padding = ((y0 - top, max(top + side - y1, 0)), (x0 - left, max(left + side - x1, 0)), (0, 0))
    return (np.pad(crop, padding, mode="reflect") if any(map(any, padding)) else crop)[:side, :side]
