"""Find the tissue on a picture of a slide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLACK_LEVEL = 30
"""Pixels whose brightest channel is below this (of 255) are a margin, not slide; JPEG gives them any hue."""

LEAST_CONTRAST = 0.05
"""Least difference of the mean saturation of tissue and background; noise and uneven light stay below it."""


def tissue_mask(thumbnail: NDArray[np.uint8], min_area: float = 0.005) -> NDArray[np.bool_]:
    """Separate stained tissue from glass by saturation (threshold of Otsu, IEEE Trans. Syst. Man Cybern. 1979).

    Small holes are filled, large ones (the inside of a gut) stay glass, and small pieces are dropped. White, gray and
    black margins are not tissue. The picture needs some background: if all of it is tissue, the threshold would
    separate strong from pale stain.

    Args:
        thumbnail: The picture, uint8 [h, w, 3], about 1,000 px long.
        min_area: The smallest piece of tissue, and the smallest hole in it, as a share of the picture.

    Returns:
        bool [h, w], True on tissue.

    Raises:
        TypeError: If the picture is not uint8.
        ValueError: If the picture is not [h, w, 3], ``min_area`` is not in [0, 1), or there is no tissue.
    """
    from scipy import ndimage

    if thumbnail.dtype != np.uint8:
        raise TypeError(f"The picture must be uint8 (0 to 255), got {thumbnail.dtype}.")
    if thumbnail.ndim != 3 or thumbnail.shape[2] != 3 or thumbnail.size == 0:
        raise ValueError(f"The picture must be [h, w, 3], got shape {list(thumbnail.shape)}.")
    if not 0 <= min_area < 1:
        raise ValueError(f"min_area must be a share of the picture, from 0 to below 1, got {min_area!r}.")
    longest = max(thumbnail.shape[:2])
    # The strongest stain nearby: pale tissue has colored threads and nuclei, the halo of dye around it has none.
    strongest = ndimage.maximum_filter(saturation(thumbnail), size=2 * round(longest / 400) + 1)
    smooth = np.asarray(ndimage.gaussian_filter(strongest, sigma=longest / 200))
    slide = thumbnail.max(axis=2) >= BLACK_LEVEL
    if not slide.any():
        raise _no_tissue("the picture is black")
    tissue = slide & (smooth > otsu(smooth[slide]))
    glass = slide & ~tissue
    if not (tissue.any() and glass.any()) or smooth[tissue].mean() - smooth[glass].mean() < LEAST_CONTRAST:
        raise _no_tissue("no part of the picture differs in saturation")
    tissue = _close(tissue, radius=longest / 64)
    filled = ndimage.binary_fill_holes(tissue)
    tissue = filled & ~_large_pieces(filled & ~tissue, min_area)
    tissue = _large_pieces(tissue, min_area)
    if not tissue.any():
        raise _no_tissue(f"every piece is smaller than min_area={min_area:g} of the picture")
    return tissue


def _large_pieces(mask: NDArray[np.bool_], min_area: float) -> NDArray[np.bool_]:
    """The pieces of a mask that take at least a share of it."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask)
    large = np.bincount(pieces.ravel()) >= max(1.0, min_area * mask.size)
    large[0] = False  # piece 0 is the area outside the mask
    return np.asarray(large[pieces])


def saturation(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saturation (of hue, saturation, value) in [0, 1], float [h, w]; 0 where the picture is nearly black."""
    value = picture.max(axis=2).astype(np.float32)
    chroma = value - picture.min(axis=2)
    return np.asarray(np.divide(chroma, value, out=np.zeros_like(chroma), where=value >= BLACK_LEVEL))


def otsu(values: NDArray[np.floating]) -> float:
    """The threshold between two classes that has the greatest variance between them (Otsu 1979), on 256 bins."""
    counts, edges = np.histogram(values, bins=256)
    centers = (edges[:-1] + edges[1:]) / 2
    share = np.cumsum(counts)[:-1] / counts.sum()
    partial = np.cumsum(counts * centers)[:-1] / counts.sum()
    mean = (counts * centers).sum() / counts.sum()
    both = share * (1 - share)
    between = np.divide((mean * share - partial) ** 2, both, out=np.zeros_like(both), where=both > 0)
    return float(edges[1 + int(between.argmax())])


def _close(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Close gaps narrower than twice the radius, such as fat, whose cells are empty in H&E."""
    from scipy import ndimage

    # By distances rather than with a disc, whose time grows with its area. The border keeps the picture's edge from
    # acting as tissue.
    border = int(np.ceil(radius)) + 1
    padded = np.pad(mask, border)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    return np.asarray(closed[border:-border, border:-border] | mask)


def _no_tissue(why: str) -> ValueError:
    return ValueError(
        f"no tissue found: {why}. Check that the image is an H&E section on a light background, or give the spots' "
        "positions in a file."
    )
