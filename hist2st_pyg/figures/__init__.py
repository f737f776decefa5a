"""Pictures of sections, genes, regions, gene sets and trainings. Each function returns a figure; ``save`` writes it.

They use Matplotlib's object interface, which changes no global state and needs no display.
"""

from hist2st_pyg.figures.background import section_background
from hist2st_pyg.figures.canvas import COLORS, DPI, SPOT_SHARE, save
from hist2st_pyg.figures.curves import pcc_histogram, training_curves
from hist2st_pyg.figures.maps import expression_maps, tissue_overview, true_and_predicted
from hist2st_pyg.figures.regions import region_maps
from hist2st_pyg.figures.tables import dot_plot, heat_map

__all__ = [
    "COLORS",
    "DPI",
    "SPOT_SHARE",
    "dot_plot",
    "expression_maps",
    "heat_map",
    "pcc_histogram",
    "region_maps",
    "save",
    "section_background",
    "tissue_overview",
    "training_curves",
    "true_and_predicted",
]
