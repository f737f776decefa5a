"""Draw an explanation: its neighbors on the tissue, and its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import spot_pitch
from hist2st_pyg.explain.pixels import PixelMap
from hist2st_pyg.explain.spot import Explanation
from hist2st_pyg.figures.canvas import plain_text, scale_bar
from hist2st_pyg.image import HistologyImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PATCH_INCHES = 2.9
"""Side of a patch in inches."""
COLORS = "RdBu_r"
VIEW_PIXELS = 900
"""Side of the view around a spot, in pixels of the source image."""
SMOOTHING_SHARE = 1 / 56
"""Standard deviation of the heat map's smoothing as a share of the patch, because single pixels are noisy."""
SATURATION_QUANTILE = 0.99
"""Quantile of the pixels at which the heat map's colors saturate."""
CROWDED_PITCH = 0.12
"""Pitch, as a share of the map's side, below which numbers are drawn above the spots."""
WHOLE_IMAGE_SHARE = 0.8
"""Share of the image above which a map is drawn without an overview of its position."""
LABELED_SHARE = 0.1
"""Smallest importance of numbered spots, as a share of the most important spot's."""


@plain_text
def explanation_figure(
    explanation: Explanation,
    pos: NDArray[np.floating],
    image: HistologyImage | None = None,
    thumbnail: NDArray[np.uint8] | None = None,
    *,
    um_per_pixel: float | None = None,
    sides: Sequence[float] = (),
) -> Figure:
    """Draw one explanation: its spots on the tissue, and each patch next to its heat map.

    Args:
        explanation: The explanation.
        pos: Centers of the section's spots [N, 2] (x, y) in pixels.
        image: The section's image; the figure shows the part around the spot.
        thumbnail: The whole image, downscaled, for an overview of the position.
        um_per_pixel: The image's resolution, for scale bars; None if unknown.
        sides: Side of each field of view in pixels of the image; without them patches have no scale bar.

    Raises:
        ValueError: If ``pos`` has fewer positions than the section has spots.
    """
    from matplotlib.figure import Figure

    points = np.asarray(pos, dtype=np.float64)
    if len(points) <= explanation.neighbors.max():
        raise ValueError(f"pos must include spot {explanation.neighbors.max()}, got {len(points)} positions.")
    maps = explanation.pixels
    fields = len(maps[0].patch) if maps else 1
    high = max(2 * PATCH_INCHES, fields * PATCH_INCHES)
    wide = min(high / fields, 1.2 * PATCH_INCHES)
    figure = Figure(figsize=(high + 2 * len(maps) * wide, high + 0.5), layout="constrained")
    panels = figure.add_gridspec(fields, 1 + 2 * len(maps), width_ratios=[high] + 2 * len(maps) * [wide])
    axis = figure.add_subplot(panels[:, 0])
    _neighbors(figure, axis, explanation, points, image, thumbnail)
    scale_bar(axis, um_per_pixel, inside=True)
    for place, pixels in enumerate(maps):
        limit = float(np.quantile(_smooth(pixels.importance), SATURATION_QUANTILE)) or 1.0
        for field in range(fields):
            left, right = (figure.add_subplot(panels[field, 1 + 2 * place + column]) for column in (0, 1))
            _patch(left, right, explanation, pixels, field, limit)
            if um_per_pixel is not None and len(sides):
                scale_bar(left, um_per_pixel * sides[field] / len(pixels.patch[field]), inside=True)
    measured = "" if explanation.measured is None else f", measured {explanation.measured:.2f}"
    figure.suptitle(
        f"{explanation.gene} at spot {explanation.name}: predicted {explanation.predicted:.2f}{measured} "
        "(log10 expression)"
    )
    return figure


def _neighbors(
    figure: Figure,
    axis: Axes,
    explanation: Explanation,
    points: NDArray[np.float64],
    image: HistologyImage | None,
    thumbnail: NDArray[np.uint8] | None,
) -> None:
    """Draw the spots colored, and the edges scaled, by importance."""
    from matplotlib.collections import EllipseCollection, LineCollection

    spots, importance = explanation.neighbors, explanation.importance
    pitch = spot_pitch(points)
    side = max(np.ptp(points[spots], axis=0).max(), 4 * pitch) + 1.6 * pitch
    corner = (points[spots].min(0) + points[spots].max(0) - side) / 2
    if image is not None:
        picture, extent = _view(image, corner, side)
        axis.imshow(picture, extent=extent, alpha=0.75)
    others = np.setdiff1d(np.arange(len(points)), spots)
    axis.plot(*points[others].T, "o", markersize=3, color="0.35", markeredgewidth=0, zorder=2)

    weight = explanation.edge_importance
    if weight is not None and np.abs(weight).max(initial=0) > 0:
        share = np.abs(weight) / np.abs(weight).max()
        seen = np.flatnonzero(share > 0.01)
        ends = list(points[explanation.edges[:, seen].T])
        axis.add_collection(LineCollection(ends, linewidths=0.5 + 5 * share[seen], colors="0.1", alpha=0.75, zorder=3))
    top = np.abs(importance).max() or 1.0
    matters = np.abs(importance) >= LABELED_SHARE * top
    matters[0] = True
    diameter = np.where(matters, 0.5, 0.16) * pitch  # small circles, so that unimportant spots do not cover the tissue
    circles = EllipseCollection(
        diameter,
        diameter,
        np.zeros(len(spots)),
        units="xy",
        offsets=points[spots],
        offset_transform=axis.transData,
        array=importance,
        cmap=COLORS,
        edgecolors=["black"] + ["0.25"] * (len(spots) - 1),
        linewidths=[2.5] + [0.8] * (len(spots) - 1),
        zorder=4,
    )
    circles.set_clim(-top, top)
    axis.add_collection(circles)
    small = pitch < CROWDED_PITCH * side
    for (x, y), value in zip(points[spots[matters]], importance[matters], strict=True):
        text = _signed(value)
        if small:  # above the circle, which is too small for the number
            axis.text(x, y - 0.35 * pitch, text, ha="center", va="bottom", fontsize=8, fontweight="bold", zorder=5)
            continue
        color = "black" if abs(value) < 0.6 * top else "white"
        axis.text(x, y, text, ha="center", va="center", fontsize=8, color=color, zorder=5)
    x, y = corner
    axis.set(xlim=(x, x + side), ylim=(y + side, y), xticks=[], yticks=[], aspect="equal")
    axis.set_title(_summary(explanation), fontsize=10)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(circles, ax=axis, orientation="horizontal", shrink=0.6, pad=0.02)
    bar.set_label("contribution of the spot, log10 expression; line width: importance of the edge", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    if thumbnail is not None and image is not None and side < WHOLE_IMAGE_SHARE * max(image.size):
        overview = axis.inset_axes((0.0, 0.0, 0.26, 0.26), zorder=6)
        overview.imshow(thumbnail, extent=(0, image.size[0], image.size[1], 0))
        box = np.array([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]]) * side + corner[:, None]
        overview.plot(*box, color="black", linewidth=1)
        overview.set(xticks=[], yticks=[], xlim=(0, image.size[0]), ylim=(image.size[1], 0))


def _summary(explanation: Explanation) -> str:
    """Describe the sum of the spots' importances."""
    center, others = explanation.importance[0], explanation.importance[1:]
    return (
        f"an average spot {explanation.reference:.2f}, this spot {_signed(center)}, "
        f"{len(others)} spots around {_signed(others.sum())}"
    )


def _patch(left: Axes, right: Axes, explanation: Explanation, pixels: PixelMap, field: int, limit: float) -> None:
    """Draw a field of view, and next to it in gray the contributions of its pixels."""
    patch, heat = pixels.patch[field], _smooth(pixels.attribution[field])
    of = "the spot" if pixels.spot == explanation.spot else "a neighbor"
    left.imshow(patch)
    left.set_title(f"{of}, field of view {field + 1}" if len(pixels.patch) > 1 else of, fontsize=9)
    gray = patch.mean(2)
    right.imshow(0.35 * gray + 165, cmap="gray", vmin=0, vmax=255)
    strength = np.clip(np.abs(heat) / limit, 0, 1)
    right.imshow(heat, cmap=COLORS, vmin=-limit, vmax=limit, alpha=strength**0.7)
    right.set_title(f"contribution of its pixels {_signed(pixels.attribution[field].sum())}", fontsize=9)
    if field == len(pixels.patch) - 1:
        right.set_xlabel("red raises the prediction, blue lowers it,\ncompared with the blurred patch", fontsize=8)
    for axis in (left, right):
        axis.set(xticks=[], yticks=[])


def _signed(value: float) -> str:
    """Format with a sign and two decimals, 0 without a minus."""
    return f"{round(float(value), 2) + 0.0:+.2f}".replace("-", "−")


def _smooth(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    sigma = SMOOTHING_SHARE * heat.shape[-1]
    result: NDArray[np.float32] = gaussian_filter(heat, (0,) * (heat.ndim - 2) + (sigma, sigma))
    return result


def _view(
    image: HistologyImage, corner: NDArray[np.float64], side: float
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Read a downscaled square of the image, and return its extent (left, right, bottom, top)."""
    from PIL import Image

    level = image.level_for(side / VIEW_PIXELS)
    down = image.level_downsamples[level]
    size = image.level_sizes[level]
    x0, y0 = np.clip(np.floor(corner / down), 0, size).astype(int)
    x1, y1 = np.clip(np.ceil((corner + side) / down), 0, size).astype(int)
    with image.open(level) if level else image.open() as region:
        pixels = region(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
    small = np.asarray(Image.fromarray(pixels).reduce(max(1, round(max(pixels.shape) / VIEW_PIXELS))))
    return small, (x0 * down, x1 * down, y1 * down, y0 * down)
