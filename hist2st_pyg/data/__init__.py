"""From sections to PyG's ``Data``: patches, panel and target, graph."""

from hist2st_pyg.data.expression import expression_target, gene_panel, variable_genes
from hist2st_pyg.data.graph import GRAPHS, PRUNINGS, delaunay_edges, grid_edges, knn_edges, prune_distant, radius_edges
from hist2st_pyg.data.options import DataOptions
from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.data.preprocessing import Preprocessing, SectionData, spot_pitch, to_data

__all__ = [
    "GRAPHS",
    "PRUNINGS",
    "DataOptions",
    "Preprocessing",
    "SectionData",
    "cut_patches",
    "delaunay_edges",
    "expression_target",
    "gene_panel",
    "grid_edges",
    "knn_edges",
    "prune_distant",
    "radius_edges",
    "spot_pitch",
    "to_data",
    "variable_genes",
]
