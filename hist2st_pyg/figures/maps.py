"""Maps of a section: expression, measured beside predicted, and the detected tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.figures.canvas import (
    Range,
    colored_map,
    draw_image,
    outlines,
    plain_text,
    points_of,
    scale_bar,
    section_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plain_text
def expression_maps(
    pos: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    image: NDArray[np.uint8] | None = None,
    image_scale: float = 1.0,
    um_per_pixel: float | None = None,
    spot_diameter: float | None = None,
    columns: int = 5,
    unit: str | Mapping[str, str] = "log10 expression",
    limits: Mapping[str, Range] | None = None,
    title: str = "",
) -> Figure:
    """Draw one map of the section for each gene.

    Args:
        pos: Spot centers [N, 2] (x, y) in pixels.
        values: Values [N] that color the spots, by title.
        image: The section's thumbnail; it becomes the first panel.
        image_scale: Thumbnail pixels per pixel of ``pos``.
        um_per_pixel: Micrometers per pixel of ``pos``, for a scale bar; None if unknown.
        spot_diameter: Diameter of a spot in pixels; None if unknown.
        columns: Maps in a row.
        unit: Label of the color bars, or of each by its title.
        limits: The values at both ends of a color bar, by title; None takes each map's own.
        title: The figure's title.

    Raises:
        ValueError: If ``values`` is empty or a map does not have one value per spot.
    """
    points = points_of(pos)
    if not values:
        raise ValueError("values is empty; pass at least one gene.")
    count = len(values) + (image is not None)
    columns = min(columns, count)
    figure, axes = section_panels(-(-count // columns), columns, points)
    if image is not None:
        draw_image(axes[0], points, image, image_scale, "H&E, spots", diameter=spot_diameter)
    for axis, (name, color) in zip(axes[image is not None :], values.items(), strict=False):
        label = unit if isinstance(unit, str) else unit[name]
        colored_map(figure, axis, points, color, name, label, (limits or {}).get(name))
    scale_bar(axes[0], um_per_pixel)
    figure.suptitle(title, fontsize=11)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure


@plain_text
def true_and_predicted(
    pos: ArrayLike,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    genes: Sequence[str],
    pcc: ArrayLike,
    *,
    n_best: int = 4,
    image: NDArray[np.uint8] | None = None,
    image_scale: float = 1.0,
    um_per_pixel: float | None = None,
    spot_diameter: float | None = None,
    unit: str = "log10 expression",
    name: str = "",
    what: str = "genes",
    where: str = "this section",
) -> Figure:
    """Draw measured and predicted maps of the best genes, one column per gene, both in one range of colors.

    The figure's title states that the genes are the best by the correlation shown.

    Args:
        pos: Spot centers [N, 2] (x, y) in pixels.
        y_true: Measured expression [N, G].
        y_pred: Predicted expression [N, G].
        genes: The G genes' names.
        pcc: Correlation of each gene [G], nan for genes without one.
        n_best: Number of genes.
        image: The section's thumbnail; it becomes the first column.
        image_scale: Thumbnail pixels per pixel of ``pos``.
        um_per_pixel: Micrometers per pixel of ``pos``, for a scale bar; None if unknown.
        spot_diameter: Diameter of a spot in pixels; None if unknown.
        unit: Label of the color bars.
        name: The section's name, for the title.
        what: What the columns are, for the title.
        where: Where the correlation is that of, for the title.

    Raises:
        ValueError: If shapes differ or no gene has a correlation.
    """
    points, scores = points_of(pos), np.asarray(pcc, dtype=float)
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if not true.shape == predicted.shape == (len(points), len(genes)) or scores.shape != (len(genes),):
        raise ValueError(
            f"Expected y_true and y_pred [{len(points)}, {len(genes)}] and pcc [{len(genes)}], got {list(true.shape)}, "
            f"{list(predicted.shape)} and {list(scores.shape)}."
        )
    best = [int(i) for i in np.argsort(-np.nan_to_num(scores, nan=-2)) if np.isfinite(scores[i])][:n_best]
    if not best:
        raise ValueError("No gene has a correlation, so no map can be drawn.")
    first = int(image is not None)
    columns = len(best) + first
    figure, axes = section_panels(2, columns, points)
    if image is not None:
        draw_image(axes[0], points, image, image_scale, "H&E", outline=False)
        draw_image(axes[columns], points, image, image_scale, "H&E, spots", diameter=spot_diameter)
    for column, gene in enumerate(best, start=first):
        both = shared_range(true[:, gene], predicted[:, gene])
        colored_map(figure, axes[column], points, true[:, gene], f"{genes[gene]}\nmeasured", unit, both)
        title = f"{genes[gene]}\npredicted (PCC {scores[gene]:.2f})"
        colored_map(figure, axes[columns + column], points, predicted[:, gene], title, unit, both)
    scale_bar(axes[columns], um_per_pixel)
    chosen = f"best {len(best)} of {np.isfinite(scores).sum()} {what} by PCC on {where}, one color range for both rows"
    figure.suptitle(f"{name}: {chosen}" if name else chosen, fontsize=11)
    return figure


def shared_range(*values: ArrayLike) -> Range:
    """The range of colors in which maps compare: from the smallest to the largest value of all."""
    every = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
    return float(np.nanmin(every)), float(np.nanmax(every))


@plain_text
def tissue_overview(
    thumbnail: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    positions: ArrayLike,
    *,
    um_per_pixel: float | None = None,
) -> Figure:
    """Draw an image beside its detected tissue, with the spots.

    Args:
        thumbnail: uint8 [h, w, 3].
        mask: bool [h, w].
        positions: Spot centers [N, 2] (x, y) in thumbnail pixels.
        um_per_pixel: Micrometers per pixel of the thumbnail, for a scale bar; None if unknown.

    Raises:
        ValueError: If the mask and the thumbnail differ in size.
    """
    if mask.shape != thumbnail.shape[:2]:
        raise ValueError(f"mask and thumbnail differ in size: {list(mask.shape)} and {list(thumbnail.shape[:2])}.")
    points = points_of(positions)
    corners = np.array([[0, 0], [thumbnail.shape[1], thumbnail.shape[0]]])
    figure, (left, right) = section_panels(1, 2, corners)
    left.imshow(thumbnail)
    left.set_title("H&E", fontsize=10)
    right.imshow(np.where(mask, 0.8, 1.0), cmap="gray", vmin=0, vmax=1)
    outlines(right, points, "#7b5ea7", 1.0)
    right.set_title(f"tissue found, {len(points)} spots", fontsize=10)
    for axis in (left, right):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    scale_bar(left, um_per_pixel)
    return figure
