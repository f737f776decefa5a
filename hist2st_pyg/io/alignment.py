"""Check whether spots lie on the tissue, and whether more of them do with x and y swapped."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.image.tissue import tissue_mask
from hist2st_pyg.utils.rows import Floats

logger = logging.getLogger(__name__)


TISSUE_MARGIN = 0.03
"""One order of x and y is clearly better if it puts this share of the spots more on tissue (real: 0.037 to 0.84) ..."""

LEAST_SPOTS = 3
"""... and at least this number of spots, from which on the log warns."""


@dataclass(frozen=True)
class Placement:
    """Where the spots lie.

    Args:
        on_image: The share whose center is on the image.
        on_tissue: The share whose center is on tissue.
    """

    on_image: float
    on_tissue: float


def in_order(
    pos: Floats, picture: NDArray[np.uint8] | None, size: tuple[int, int] | None, swap_xy: bool | None, what: str
) -> Floats:
    """Return positions in the order x, y; raise an error if the picture clearly contradicts the file's order.

    It does if many more spots lie on tissue with x and y swapped, or if all spots lie on the image only when swapped.
    The shares of both orders are logged, as a warning if the other order is better.

    Args:
        pos: Spot centers [N, 2] as in the file, nominally x first, in image pixels.
        picture: The image, or a small copy of it, uint8 [h, w, 3]; None skips the check.
        size: Width and height of the image in pixels; None skips the check.
        swap_xy: True swaps x and y, False keeps them, both without an error; None keeps them unless contradicted.
        what: The data set and section, for the log and errors.

    Returns:
        Spot centers x, y, [N, 2].

    Raises:
        ValueError: If x and y look swapped and ``swap_xy`` is None.
    """
    chosen = pos[:, ::-1].copy() if swap_xy else pos
    if picture is None or size is None:
        logger.info("%s: the order of x and y is not checked, because there is no picture of the slide", what)
        return chosen
    try:
        mask = tissue_mask(picture)
    except ValueError:  # no tissue found: check the image's border only
        mask = np.ones(picture.shape[:2], dtype=np.bool_)
    here, other = (placement(each, mask, size) for each in (chosen, chosen[:, ::-1]))
    report = (
        f"{here.on_tissue:.1%} of the spots are on tissue and {here.on_image:.1%} on the image, with x and y "
        f"{'as in the file' if swap_xy else 'swapped'} {other.on_tissue:.1%} and {other.on_image:.1%}"
    )
    gain = other.on_tissue - here.on_tissue
    doubtful = other.on_image > here.on_image or gain * len(pos) > LEAST_SPOTS - 0.5
    logger.log(logging.WARNING if doubtful else logging.INFO, "%s: %s", what, report)
    clear = other.on_tissue > 0.5 and gain > TISSUE_MARGIN and gain * len(pos) > LEAST_SPOTS - 0.5
    if swap_xy is None and (clear or (other.on_image == 1 > here.on_image and gain >= 0)):
        raise ValueError(
            f"{what}: x and y look swapped: {report}. Set swap_xy=True to swap them, or swap_xy=False to keep them."
        )
    return chosen


def placement(pos: Floats, mask: NDArray[np.bool_], size: tuple[int, int]) -> Placement:
    """The shares of spots on the image and on tissue.

    Args:
        pos: Spot centers x, y, [N, 2], in image pixels.
        mask: The tissue on a copy of the image of any size, bool [h, w].
        size: Width and height of the image in pixels.
    """
    inside = on_image(pos, size)
    height, width = mask.shape
    pixels = np.floor(pos[inside] * [width, height] / size).astype(np.int64)
    column, row = np.minimum(pixels, [width - 1, height - 1]).T
    return Placement(float(inside.mean()), float(mask[row, column].sum() / len(pos)))


def on_image(pos: Floats, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether each spot's center is on an image, bool [N]."""
    return np.asarray(((pos >= 0) & (pos < size)).all(axis=1))
