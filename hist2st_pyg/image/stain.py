"""Stain normalization, which makes sections comparable.

One linear map of optical density for all patches of a section brings the strength of its stains to a reference. To add
a method, write ``(optical density [M, 3]) -> (matrix [3, 3], offset [3])`` and add one line to :data:`STAINS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.rows import Floats

WHITE_LEVEL = 256.0
SAMPLE_PIXELS = 500_000
"""Largest number of pixels for fitting a map."""
SAMPLE_SPOTS = 4096
"""Largest number of spots for fitting a map, so that the cost does not grow with the slide."""
PATCHES_AT_ONCE = 64
"""Number of patches mapped at a time."""
GLASS_DENSITY = 0.15
"""Optical density below which a channel counts as glass."""
HE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
HE_STRENGTH = np.array([1.9705, 1.0308])
"""Macenko's reference: optical density of hematoxylin and eosin, and the 99 % quantile of their concentrations."""
REFERENCE_MEAN, REFERENCE_DEVIATION = np.array([0.5, 0.6, 0.35]), np.array([0.45, 0.45, 0.25])
"""Target optical density of ``"standardize"``: about that of breast sections."""


@dataclass(frozen=True, eq=False)
class StainMap:
    """A linear map of optical density, ``matrix @ density + offset``: [3, 3] and [3]."""

    matrix: Floats
    offset: Floats


def normalize_stain(patches: NDArray[np.uint8], stain: str, name: str = "") -> NDArray[np.uint8]:
    """Map a section's patches to the reference stain: :func:`fit_stain` on some of its spots, then :func:`apply_stain`.

    Args:
        patches: uint8 [N, 3·S, P, P], RGB for each field of view, all of the section's spots.
        stain: A key of :data:`STAINS`; ``"none"`` returns the patches unchanged.
        name: The section's name, for errors.

    Returns:
        uint8 [N, 3·S, P, P].

    Raises:
        ValueError: If the key is unknown, or too few pixels are stained.
    """
    spots = stain_spots(len(patches))
    pixels = len(spots) * patches.shape[2] * patches.shape[3]
    parts = (patches[spots[start : start + PATCHES_AT_ONCE]] for start in range(0, len(spots), PATCHES_AT_ONCE))
    return apply_stain(patches, fit_stain(parts, pixels, stain, name))


def stain_spots(n: int) -> NDArray[np.int64]:
    """The spots, out of n, for fitting a section's map: all, or :data:`SAMPLE_SPOTS` of them, evenly spaced."""
    return np.arange(n) if n <= SAMPLE_SPOTS else np.linspace(0, n - 1, SAMPLE_SPOTS).round().astype(np.int64)


def fit_stain(parts: Iterable[NDArray[np.uint8]], pixels: int, stain: str, name: str = "") -> StainMap | None:
    """Fit a section's map to the patches of :func:`stain_spots`; counts are not read.

    Args:
        parts: The patches in parts [n, 3 or more, P, P], in the spots' order; the first field of view is read.
        pixels: Number of pixels in all parts, of which at most :data:`SAMPLE_PIXELS` are used.
        stain: A key of :data:`STAINS`; ``"none"`` reads nothing and returns None.
        name: The section's name, for errors.

    Raises:
        ValueError: If the key is unknown, or too few pixels are stained.
    """
    fit = resolve(STAINS, stain, "stain")
    if fit is None:
        return None
    step, seen, sample = pixels // SAMPLE_PIXELS + 1, 0, []
    for part in parts:
        colors = part[:, :3].transpose(0, 2, 3, 1).reshape(-1, 3)
        sample.append(colors[-seen % step :: step].copy())
        seen += len(colors)
    try:
        return StainMap(*fit(_density(np.concatenate(sample))))
    except ValueError as error:
        raise ValueError(f"Section {name!r}: {error}") from error


def apply_stain(patches: NDArray[np.uint8], stain_map: StainMap | None) -> NDArray[np.uint8]:
    """Map patches, uint8 [n, 3·S, P, P], to the reference stain; None returns them unchanged."""
    if stain_map is None:
        return patches
    matrix, offset = stain_map.matrix.astype(np.float32), stain_map.offset.astype(np.float32)
    result = np.empty(patches.shape, np.uint8)
    for start in range(0, len(patches), PATCHES_AT_ONCE):  # limits the memory of floats
        part = patches[start : start + PATCHES_AT_ONCE]
        density = np.moveaxis(_density(part).reshape(len(part), -1, 3, *part.shape[2:]), 2, -1)
        mapped = WHITE_LEVEL * np.exp(-(density @ matrix.T + offset)) - 1
        result[start : start + PATCHES_AT_ONCE] = np.moveaxis(np.rint(np.clip(mapped, 0, 255)), -1, 2).reshape(
            part.shape
        )
    return result


def macenko(density: Floats) -> tuple[Floats, Floats]:
    """Separate hematoxylin and eosin and scale each to the reference (Macenko et al., ISBI 2009).

    The stains' directions are the extreme angles in the plane of the first two principal components. Strength is the
    99 % quantile of a stain's concentration, which depends on the stain more than on the mix of tissues.

    Raises:
        ValueError: If fewer than 100 pixels are stained.
    """
    stained = density[(density > GLASS_DENSITY).all(1)]
    if len(stained) < 100:
        raise ValueError(
            f"{len(stained)} of {len(density)} sampled pixels are stained, too few to find the stains; "
            "set data.stain: none."
        )
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, [2, 1]]
    plane *= np.where(plane[0] < 0, -1, 1)
    along = stained @ plane
    angles = np.percentile(np.arctan2(along[:, 1], along[:, 0]), [1, 99])
    stains = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T
    stains = stains[np.argsort(-stains[:, 0])]  # hematoxylin absorbs more red
    concentration = np.linalg.lstsq(stains.T, stained.T, rcond=None)[0]
    strength = np.percentile(concentration, 99, axis=1)
    if not (strength > 0).all():
        raise ValueError("the two stains have the same color; set data.stain: none.")
    return (HE.T * (HE_STRENGTH / strength)) @ np.linalg.pinv(stains.T), np.zeros(3)


def standardize(density: Floats) -> tuple[Floats, Floats]:
    """Match each channel's optical density to the reference's mean and deviation, as Reinhard does with colors.

    This also removes differences in the mix of tissues.
    """
    scale = REFERENCE_DEVIATION / np.maximum(density.std(0), 1e-6)
    return np.diag(scale), REFERENCE_MEAN - density.mean(0) * scale


StainFit = Callable[[Floats], tuple[Floats, Floats]]
STAINS: dict[str, StainFit | None] = {"none": None, "macenko": macenko, "standardize": standardize}
"""The methods that can be chosen by key."""


def _density(pixels: NDArray[np.uint8]) -> Floats:
    """Optical density, natural logarithm, looked up in a table of the 256 values."""
    table: Floats = -np.log((np.arange(256, dtype=np.float32) + 1) / WHITE_LEVEL)
    return table[pixels]
