"""Cut a patch around each spot.

One rule at the border: the image is continued by reflection. A spot whose center is not on the image is an error.
A field of view is read from the coarsest level of the image's pyramid that still has a patch's pixels, and spots that
lie together are cut out of one block of it: a slide of any size is decoded about once and never held whole. A field
that is still many pixels wide, because the image has no such level, is cut out of averages of the level's pixels.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.patch_grid import AVERAGED, Cut, PixelGrid, is_wide
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.io.alignment import on_image
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import atomic_path
from hist2st_pyg.utils.progress import tqdm

logger = logging.getLogger(__name__)
LAYOUT = 1
"""Version of the pixels that the same settings give; part of a cache's key."""

LARGEST_FIELD = 2**14
"""Largest side of a field of view in pixels of the level it is read from, 800 MB decoded."""


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

    With ``cache`` the patches are written to a file, keyed by the image's content, the positions and the settings, and
    returned as a memory map.

    Args:
        image: The section's image.
        pos: Spot centers [N, 2] (x right, y down) in image pixels.
        patch_size: Side of the result, P, in pixels.
        field: Side of the field of view in image pixels (level 0); None means ``patch_size``, so no resampling.
        scales: Factors of the field of view; each adds three channels.
        cache: Folder of the cache, or None.
        name: The section's name, for errors and file names.

    Returns:
        uint8 [N, 3·S, P, P], channels first, RGB for each scale.

    Raises:
        ValueError: If a size is not positive or a spot's center is not on the image.
    """
    sides = [(patch_size if field is None else field) * scale for scale in scales]
    if patch_size < 1 or not sides or min(sides) < 1:
        raise ValueError(
            f"Patches need at least one pixel, got patch_size={patch_size}, field={field}, scales={scales}."
        )
    check_on_image(image, pos, name)
    levels = [image.level_for(side / patch_size) for side in sides]
    largest = max(side / image.level_downsamples[level] for side, level in zip(sides, levels, strict=True))
    if largest > LARGEST_FIELD:
        raise ValueError(
            f"Section {name!r}: a field of view is {largest:.3g} pixels of the image wide, the limit is "
            f"{LARGEST_FIELD}; set a smaller field (patch_um, patch_pitch or scales), or use a slide with a pyramid."
        )
    shape = (len(pos), 3 * len(sides), patch_size, patch_size)
    cut = _cut(image, pos, patch_size, sides, levels, name)
    if cache is None:
        patches = np.empty(shape, dtype=np.uint8)
        for spots, channels, part in cut:
            patches[np.ix_(spots, channels)] = part
        return patches
    key = hashlib.blake2b(digest_size=12)
    wide = [is_wide(image, level, side, patch_size) for side, level in zip(sides, levels, strict=True)]
    # Patches of the pixels of level 0 are as they always were, and so are their keys.
    added = [levels, AVERAGED] if any(levels) or any(wide) else []
    key.update(json.dumps([LAYOUT, image.fingerprint(), patch_size, sides, *added]).encode())
    key.update(np.ascontiguousarray(pos, dtype=np.float64).tobytes())
    path = Path(cache) / f"{file_name(name or 'section')}-{key.hexdigest()}.npy"
    if not _is_whole(path, shape):
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            _write(file, shape, cut)
    # Copy-on-write: torch needs writable memory, and the file does not change.
    return np.load(path, mmap_mode="c", allow_pickle=False)  # type: ignore[no-any-return]


def _write(file: BinaryIO, shape: tuple[int, ...], cut: Iterator[Cut]) -> None:
    """Write patches to an ``.npy`` file as they are cut, each to its place, so that they are never all in memory."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    start, channel = file.tell(), shape[2] * shape[3]
    for spots, channels, part in cut:
        for spot, patch in zip(spots.tolist(), part, strict=True):
            for of_field in range(0, len(channels), 3):
                file.seek(start + (spot * shape[1] + int(channels[of_field])) * channel)
                file.write(patch[of_field : of_field + 3].data)  # its errors, unlike numpy's, state the reason


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a cached file exists and is complete; a damaged one is logged, and rebuilt by the caller."""
    if not path.is_file():
        return False
    try:
        if np.load(path, mmap_mode="r", allow_pickle=False).shape == shape:
            return True
    except (ValueError, OSError, EOFError) as error:
        logger.warning("The patch cache %s is damaged (%s) and is rebuilt.", path, error)
    return False


def check_on_image(image: HistologyImage, pos: NDArray[np.float64], name: str) -> None:
    """Refuse spots whose center is not on the image.

    Raises:
        ValueError: If there is one; the message says which, and whether x and y are swapped.
    """
    width, height = image.size
    outside = ~on_image(pos, image.size)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        swapped = on_image(pos[:, ::-1], image.size).all()
        hint = " With x and y swapped all spots would lie on it; check the order of the columns." if swapped else ""
        raise ValueError(
            f"Section {name!r}: {int(outside.sum())} of {len(pos)} spots are not on the image ({width} x {height} px), "
            f"for example spot {i} at x={pos[i, 0]:.1f}, y={pos[i, 1]:.1f}. Positions are pixels of this "
            f"image.{hint}"
        )


def _cut(
    image: HistologyImage,
    pos: NDArray[np.float64],
    patch_size: int,
    sides: Sequence[float],
    levels: Sequence[int],
    name: str,
) -> Iterator[Cut]:
    """Cut blocks of spots, level by level."""
    total = len(pos) * len(sides)
    with tqdm(total=total, desc=f"patches of {name}", unit="patch", leave=False, disable=None) as bar:
        for level in sorted(set(levels)):
            here = [s for s, own in enumerate(levels) if own == level]
            wide = [s for s in here if is_wide(image, level, sides[s], patch_size)]
            # Images of one level may define ``open`` without the argument.
            with image.open(level) if level else image.open() as region:
                for fields, factor in (([s for s in here if s not in wide], 1), (wide, AVERAGED)):
                    if not fields:
                        continue
                    grid = PixelGrid.of(image, level, region, factor)
                    for spots, channels, part in grid.cut(pos, patch_size, {s: sides[s] for s in fields}):
                        yield spots, channels, part
                        bar.update(len(spots) * len(fields))
