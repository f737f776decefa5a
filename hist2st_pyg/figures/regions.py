"""Maps of regions: partitions of a section's spots beside each other, in matching colors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.figures.canvas import (
    LETTER_INCHES,
    circles,
    draw_image,
    frame,
    plain_text,
    points_of,
    scale_bar,
    section_panels,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = (
    "#008bff", "#e8b92e", "#005d46", "#46e8ff", "#74178b", "#8be88b", "#ff5da2", "#745d17", "#46b9ff", "#8ba246",
    "#b98b74", "#d15db9", "#b9e8b9", "#005d74", "#8b002e", "#e8e874",
)  # fmt: skip
"""Colors that are distinct with and without red-green blindness, and on H&E; further regions take scanpy's.

They are the farthest apart (CIE 1976 ΔE, the least over normal vision, deuteranopia and protanopia by Machado et al.
2009) among colors that also differ from those of H&E and from :data:`NOWHERE_COLOR`.
"""
LEGEND_ROWS = 12
NOWHERE_COLOR = "#d9d9d9"
"""Color of spots without a region."""
FADED_ALPHA = 0.5


@plain_text
def region_maps(
    pos: ArrayLike,
    partitions: Mapping[str, ArrayLike],
    *,
    image: NDArray[np.uint8] | None = None,
    image_scale: float = 1.0,
    um_per_pixel: float | None = None,
    spot_diameter: float | None = None,
    columns: int = 4,
    nowhere: str = "undetermined",
) -> Figure:
    """Draw partitions of the spots beside each other, on the image if given.

    Names of found regions are arbitrary, so each region takes the color of the region of the first partition with
    which it shares most spots, one to one (Hungarian method); the rest take other colors.

    Args:
        pos: Spot centers [N, 2] (x, y) in pixels.
        partitions: The spots' regions, names [N], by title.
        image: The section's thumbnail; it becomes the first panel, and the faded background of the others.
        image_scale: Thumbnail pixels per pixel of ``pos``.
        um_per_pixel: Micrometers per pixel of ``pos``, for a scale bar; None if unknown.
        spot_diameter: Diameter of a spot in pixels; None if unknown.
        columns: Maps in a row.
        nowhere: The name of spots without a region, which are gray.

    Raises:
        ValueError: If ``partitions`` is empty or a partition does not have one name per spot.
    """
    points = points_of(pos)
    if not partitions:
        raise ValueError("partitions is empty; pass at least one.")
    names = {title: np.asarray(values, dtype=object).astype(str) for title, values in partitions.items()}
    for title, values in names.items():
        if values.shape != (len(points),):
            raise ValueError(f"{title}: regions need a name for each of {len(points)} spots, got {list(values.shape)}.")
    count = len(names) + (image is not None)
    columns = min(columns, count)
    figure, axes = section_panels(-(-count // columns), columns, points)
    longest = max(len(region) for values in names.values() for region in values)
    most = max(len(set(values)) for values in names.values())
    legend = (0.6 + LETTER_INCHES * longest) * -(-most // LEGEND_ROWS)
    figure.set_size_inches(figure.get_figwidth() + legend * min(columns, len(names)), figure.get_figheight())
    if image is not None:
        draw_image(axes[0], points, image, image_scale, "H&E, spots", diameter=spot_diameter)
    reference = next(iter(names.values()))
    for axis, (title, values) in zip(axes[image is not None :], names.items(), strict=False):
        if image is not None:
            draw_image(axis, points, image, image_scale, title, outline=False, alpha=FADED_ALPHA)
        colors = matched_colors(reference, values, nowhere)
        circles(axis, points, facecolors=[colors[value] for value in values])
        frame(axis, points, title)
        for region, color in colors.items():
            axis.plot([], [], "o", color=color, label=f"{region} ({(values == region).sum()})")
        axis.legend(
            frameon=False,
            fontsize=8,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            handletextpad=0,
            columnspacing=0.5,
            ncols=-(-len(colors) // LEGEND_ROWS),
        )
    scale_bar(axes[0], um_per_pixel)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure


def matched_colors(reference: ArrayLike, values: ArrayLike, nowhere: str) -> dict[str, str]:
    """The color of each region of ``values``, in the order of the legend.

    Args:
        reference: Region names [N] whose colors matching regions take.
        values: Region names [N].
        nowhere: The name of spots without a region.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics.cluster import contingency_matrix

    first, second = np.asarray(reference), np.asarray(values)
    known, found = (np.array(sorted(set(names) - {nowhere}, key=_number_first), dtype=str) for names in (first, second))
    both = np.isin(first, known) & np.isin(second, found)
    place: dict[str, int] = {}
    if both.any():
        # Rows and columns of the table are the sorted names of both.
        rows, columns = np.unique(first[both]), np.unique(second[both])
        shared = contingency_matrix(first[both], second[both])
        order = {name: i for i, name in enumerate(known)}
        place = {str(columns[j]): order[rows[i]] for i, j in zip(*linear_sum_assignment(-shared), strict=True)}
    free = iter(range(len(known), len(known) + len(found)))
    places = [place[name] if name in place else next(free) for name in found]
    palette = _palette(max(places, default=0) + 1)
    colors = {name: palette[i % len(palette)] for name, i in zip(found, places, strict=True)}
    return {**colors, nowhere: NOWHERE_COLOR} if nowhere in second else colors


def _palette(size: int) -> tuple[str, ...]:
    """At least ``size`` colors, if available."""
    if size <= len(PALETTE):
        return PALETTE
    from scanpy.plotting.palettes import default_102

    return (*PALETTE, *default_102)


def _number_first(name: str) -> tuple[bool, int, str]:
    """Sort key that orders numbered regions by their numbers."""
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)
