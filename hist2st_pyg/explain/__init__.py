"""Explain a spot's prediction by the pixels of its patch and by its neighbors."""

from hist2st_pyg.explain.figure import explanation_figure
from hist2st_pyg.explain.image import ImageExplanations, explain_image, find_spots, numbers
from hist2st_pyg.explain.pixels import PixelMap
from hist2st_pyg.explain.spot import Explanation, explain_spot

__all__ = [
    "Explanation",
    "ImageExplanations",
    "PixelMap",
    "explain_image",
    "explain_spot",
    "explanation_figure",
    "find_spots",
    "numbers",
]
