"""Prediction: a model and an image in, an AnnData out, whatever the size of the image."""

from hist2st_pyg.inference.blocks import BLOCK, WHOLE, predict_blocks, run_model, spatial_blocks
from hist2st_pyg.inference.grid import GRID, THUMBNAIL, grid_pitch, lay_grid
from hist2st_pyg.inference.prediction import model_data, predict, predict_section, predict_spots, write_h5ad
from hist2st_pyg.inference.recipe import require_recipe

__all__ = [
    "BLOCK",
    "GRID",
    "THUMBNAIL",
    "WHOLE",
    "grid_pitch",
    "lay_grid",
    "model_data",
    "predict",
    "predict_blocks",
    "predict_section",
    "predict_spots",
    "require_recipe",
    "run_model",
    "spatial_blocks",
    "write_h5ad",
]
