"""Cut a patch around each spot.

One rule at the border: the image is continued by reflection. A spot whose center is not on the image is an error.
A field of view is read from the coarsest level of the image's pyramid that still has a patch's pixels, and spots that
lie together are cut out of one block of it: a slide of any size is decoded about once and never held whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg.image import HistologyImage, Region
from hist2st_pyg.io.alignment import on_image
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import atomic_path
from hist2st_pyg.utils.progress import tqdm

logger = logging.getLogger(__name__)
LAYOUT = 1
"""Version of the pixels that the same settings give; part of a cache's key."""

BLOCK_PIXELS = 2**26
"""Largest number of pixels that are read at once, 200 MB decoded; a larger field of view is read separately."""

LARGEST_FIELD = 2**14
"""Largest side of a field of view in pixels of the level it is read from, 800 MB decoded."""

PATCHES_AT_ONCE = 1024
"""Number of a block's patches that are in memory at a time before they are written to the cache."""

Cut = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]
"""Spots, channels, and their part of the patches, [spots, channels, P, P]."""


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
    # Level 0 is omitted, so that keys from before pyramids were read stay valid.
    key.update(json.dumps([LAYOUT, image.fingerprint(), patch_size, sides, *([levels] * any(levels))]).encode())
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
            size, downsample = image.level_sizes[level], image.level_downsamples[level]
            fields = [(s, round(side / downsample)) for s, side in enumerate(sides) if levels[s] == level]
            channels = np.array([3 * s + color for s, _ in fields for color in range(3)])
            # The nearest pixel of the level; in level 0 the one that the spot's center is on.
            places = np.rint(np.floor(pos) / downsample).astype(np.int64).clip(0, np.subtract(size, 1))
            largest = max(side for _, side in fields)
            # Images of one level may define ``open`` without the argument.
            with image.open(level) if level else image.open() as region:
                for spots in _blocks(places, largest, image.block_size(level)):
                    block = _block(region, size, places[spots], largest, image.tile_size(level))
                    for some in np.split(spots, range(PATCHES_AT_ONCE, len(spots), PATCHES_AT_ONCE)):
                        part = np.empty((len(some), 3 * len(fields), patch_size, patch_size), dtype=np.uint8)
                        for (i, spot), (j, (_, side)) in itertools.product(enumerate(some), enumerate(fields)):
                            crop = _reflected(block, size, int(places[spot, 0]), int(places[spot, 1]), side)
                            part[i, 3 * j : 3 * j + 3] = _resized(crop, patch_size).transpose(2, 0, 1)
                        yield some, channels, part
                        bar.update(len(some) * len(fields))
                    del block, crop, part  # before the next is read


def _resized(crop: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square at the patches' size; Pillow's bilinear filter averages when it shrinks."""
    if len(crop) == side:
        return crop
    return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BILINEAR))


def _blocks(places: NDArray[np.int64], side: int, block: tuple[int, int]) -> Iterator[NDArray[np.int64]]:
    """Group spots whose fields of view fit in a block, in reading order; single spots if no block is that large."""
    wide, high = block
    high = min(high, BLOCK_PIXELS // (wide + side) - side)
    if high < 1 or not len(places):
        yield from np.arange(len(places))[:, None]
        return
    column, row = places[:, 0] // wide, places[:, 1] // high
    order = np.lexsort((column, row))
    breaks = np.flatnonzero(np.diff(column[order]) | np.diff(row[order])) + 1
    yield from np.split(order, breaks)


def _block(
    region: Region, size: tuple[int, int], places: NDArray[np.int64], side: int, tile: tuple[int, int]
) -> Region:
    """Read the fields of view of some spots at once, unless reading them one by one decodes less."""
    x0, y0 = (places.min(0) - side // 2).clip(0).tolist()
    x1, y1 = np.minimum(places.max(0) + side - side // 2 + 1, size).tolist()
    together, apart = (np.minimum(np.add(shape, tile), size).prod() for shape in ((x1 - x0, y1 - y0), (side, side)))
    if len(places) * apart <= together:
        return region
    pixels = region(x0, y0, x1 - x0, y1 - y0)

    def inside(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return pixels[y - y0 : y - y0 + height, x - x0 : x - x0 + width]

    return inside


def _reflected(region: Region, size: tuple[int, int], x: int, y: int, side: int) -> NDArray[np.uint8]:
    """The square of ``side`` pixels around (x, y), reflected where it leaves the image."""
    width, height = size
    left, top = x - side // 2, y - side // 2
    x0, y0 = max(left, 0), max(top, 0)
    # Read one pixel more, which the reflection of an even side at x = 0 or y = 0 needs.
    x1, y1 = min(left + side + 1, width), min(top + side + 1, height)
    crop = region(x0, y0, x1 - x0, y1 - y0)
    padding = ((y0 - top, max(top + side - y1, 0)), (x0 - left, max(left + side - x1, 0)), (0, 0))
    return (np.pad(crop, padding, mode="reflect") if any(map(any, padding)) else crop)[:side, :side]
