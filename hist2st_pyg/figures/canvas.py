"""Common parts of all pictures of a section: panels of its shape, maps, the image, spots in data units."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.preprocessing import spot_pitch
from hist2st_pyg.utils.files import atomic_path
from hist2st_pyg.utils.warn_on_error import warn_on_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
Given = ParamSpec("Given")
Made = TypeVar("Made")

COLORS = "magma"
DPI = 150
PANEL_INCHES = 3.1
"""Width of a panel in inches."""
LETTER_INCHES = 0.075
"""Width of a letter of a legend or of a tick in inches."""
SPOT_SHARE = 0.9
"""Diameter of a drawn spot as a share of the pitch, for maps without gaps but with visible spots."""
RING_SHARE = 0.5
"""Diameter of the ring of a spot of unknown diameter as a share of the pitch, about as in ST and Visium."""
COLOR_BAR_PLACE = (1.02, 0.1, 0.04, 0.8)
"""Left, bottom, width and height of a color bar as shares of its panel."""
BAR_SHARE = 0.35
"""Longest scale bar as a share of its panel."""
Range = tuple[float, float]
"""The values at both ends of a color bar."""


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG, atomically; names in it are text, also with the ``$`` of matplotlib's formulas."""
    without_formulas(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
    return Path(path)


def without_formulas(figure: Figure) -> Figure:
    """Show each text as it is written; only powers of ten at a logarithmic axis are formulas."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    powers = [axis for axis in axes if isinstance(axis.get_major_formatter(), LogFormatter)]
    kept = {label for axis in powers for label in [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]}
    for text in figure.findobj(Text):
        if text not in kept:
            text.set_parse_math(False)
    return figure


def plain_text(draw: Callable[Given, Figure]) -> Callable[Given, Figure]:
    """Decorate a function that draws: see :func:`without_formulas`."""

    @wraps(draw)
    def drawn(*args: Given.args, **kwargs: Given.kwargs) -> Figure:
        return without_formulas(draw(*args, **kwargs))

    return drawn


def try_drawing(name: str, draw: Callable[[], Made]) -> Made | None:
    """Draw a picture of a written result; log an error as a warning that names the picture, and return None.

    Args:
        name: The picture or its section, for the warning.
        draw: Draws it and returns its path or paths.
    """
    made: Made | None = None
    with warn_on_error(logger, f"{name} was not drawn"):
        made = draw()
    return made


def draw_each(folder: str | Path | None, pictures: Mapping[str, Callable[[], Path | Sequence[Path]]]) -> Iterator[Path]:
    """Draw pictures of a written result, each by :func:`try_drawing`, and yield their paths.

    Args:
        folder: Their folder; None draws nothing.
        pictures: Functions that draw, by the name of the picture.
    """
    for name, draw in pictures.items() if folder is not None else ():
        made = try_drawing(f"{name} in {folder}", draw)
        yield from [] if made is None else [made] if isinstance(made, Path) else made


def points_of(pos: ArrayLike) -> NDArray[np.float64]:
    """Check positions and return them as float [N, 2]."""
    points = np.asarray(pos, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"Positions must be [N, 2] of at least one spot, got shape {list(points.shape)}.")
    return points


def section_panels(rows: int, columns: int, points: NDArray[np.float64]) -> tuple[Figure, list[Axes]]:
    """Make a grid of panels in the section's shape."""
    from matplotlib.figure import Figure

    width, height = np.ptp(points, axis=0) + spot_pitch(points)
    ratio = float(np.clip(height / width, 0.4, 2.5))
    figure = Figure(figsize=(PANEL_INCHES * columns, (2.7 * ratio + 0.4) * rows), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).flat)


def colored_map(
    figure: Figure,
    axis: Axes,
    points: NDArray[np.float64],
    color: ArrayLike,
    title: str,
    unit: str,
    limits: Range | None = None,
) -> None:
    """Draw spots colored by a value [N], with a color bar over ``limits``, or over all values."""
    values = np.asarray(color, dtype=float)
    if values.shape != (len(points),):
        raise ValueError(f"{title}: a map needs one value for each of {len(points)} spots, got {list(values.shape)}.")
    spots = circles(axis, points, cmap=COLORS, array=values)
    spots.set_clim(limits)
    frame(axis, points, title)
    # Within the panel's own frame, so that maps are as large as the image beside them.
    bar = figure.colorbar(spots, cax=axis.inset_axes(COLOR_BAR_PLACE))
    bar.set_label(unit, fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)


def draw_image(
    axis: Axes,
    points: NDArray[np.float64],
    image: NDArray[np.uint8],
    scale: float,
    title: str,
    outline: bool = True,
    alpha: float = 1.0,
    diameter: float | None = None,
) -> None:
    """Draw the section's thumbnail in full-resolution pixels.

    Args:
        axis: The panel.
        points: Spot centers [N, 2] (x, y) in pixels.
        image: The thumbnail.
        scale: Thumbnail pixels per pixel of ``points``.
        title: The panel's title.
        outline: Whether to draw the spots as rings.
        alpha: The thumbnail's opacity.
        diameter: Diameter of a spot in pixels, if known.
    """
    height, width = image.shape[:2]
    axis.imshow(image, extent=(0, width / scale, height / scale, 0), alpha=alpha)
    if outline:
        outlines(axis, points, "black", diameter=diameter)
    frame(axis, points, title)


def circles(axis: Axes, points: NDArray[np.float64], diameter: float | None = None, **style: Any) -> Any:
    """Draw spots in data units, so that their size relative to the section is fixed.

    Args:
        axis: The panel.
        points: Spot centers [N, 2].
        diameter: Their diameter; None takes :data:`SPOT_SHARE` of the pitch.
        style: Options of the ``EllipseCollection``.
    """
    from matplotlib.collections import EllipseCollection

    wide = np.full(len(points), SPOT_SHARE * spot_pitch(points) if diameter is None else diameter)
    drawn = EllipseCollection(
        wide, wide, np.zeros(len(points)), units="xy", offsets=points, offset_transform=axis.transData, **style
    )
    axis.add_collection(drawn)
    return drawn


def outlines(
    axis: Axes, points: NDArray[np.float64], color: str, width: float = 0.5, diameter: float | None = None
) -> None:
    """Draw spots as rings, ``width`` points wide or, if many spots would hide the image, thinner.

    Args:
        axis: The panel.
        points: Spot centers [N, 2].
        color: The rings' color.
        width: The rings' width in points.
        diameter: Diameter of a spot; None takes :data:`RING_SHARE` of the pitch.
    """
    pitch = spot_pitch(points)
    pitches = float(np.ptp(points, axis=0).max()) / pitch + 1
    width = min(width, 0.05 * 72 * PANEL_INCHES / pitches)
    wide = RING_SHARE * pitch if diameter is None else diameter
    circles(axis, points, wide, facecolors="none", edgecolors=color, linewidths=width)


def scale_bar(axis: Axes, um_per_pixel: float | None, inside: bool = False) -> None:
    """Draw a scale bar in µm or mm under a panel, or in its corner; nothing if the resolution is unknown.

    Args:
        axis: The panel.
        um_per_pixel: Micrometers per unit of the panel's data.
        inside: Whether to draw it in the corner, on white.
    """
    if um_per_pixel is None:
        return
    from matplotlib_scalebar.scalebar import ScaleBar

    below = {"bbox_to_anchor": (1.0, 0.0), "bbox_transform": axis.transAxes, "location": "upper right"}
    place = {"location": "lower right", "box_alpha": 0.7} if inside else {**below, "frameon": False}
    longest = BAR_SHARE * abs(float(np.subtract(*axis.get_xlim()))) * um_per_pixel
    power = 10.0 ** np.floor(np.log10(longest))
    um = power * max(step for step in (1, 2, 5) if step * power <= longest)
    text = f"{um:g} µm" if um < 1000 else f"{um / 1000:g} mm"
    font = {"size": 8}
    axis.add_artist(
        ScaleBar(
            um_per_pixel, "um", fixed_value=um, scale_formatter=lambda *_: text, sep=2, font_properties=font, **place
        )
    )
    if not inside:
        axis.set_xlabel(" ", fontsize=13)  # room for the bar, which the layout ignores


def frame(axis: Axes, points: NDArray[np.float64], title: str) -> None:
    """Show the spots and a margin; y runs down, as in the image."""
    margin = spot_pitch(points)
    (left, top), (right, bottom) = points.min(0) - margin, points.max(0) + margin
    axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)
    axis.spines[:].set_visible(False)
