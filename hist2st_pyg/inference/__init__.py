"""Predict expression from a model and an image of any size, as an AnnData."""

from hist2st_pyg.data.parts import spatial_blocks
from hist2st_pyg.inference.blocks import BLOCK_SPOTS, WHOLE_SECTION_SPOTS, predict_blocks
from hist2st_pyg.inference.cohort import predict_cohort
from hist2st_pyg.inference.layout import LAID_GRID, THUMBNAIL_PIXELS, grid_pitch, lay_grid
from hist2st_pyg.inference.lazyslide import FeaturePredictor, TilePredictor
from hist2st_pyg.inference.prediction import model_data, predict, predict_section, predict_spots
from hist2st_pyg.inference.running import run_model
from hist2st_pyg.inference.store import write_spatialdata
from hist2st_pyg.io.geojson import write_geojson, write_regions_geojson
from hist2st_pyg.models.base import require_preprocessing
from hist2st_pyg.utils.files import write_h5ad

__all__ = [
    "BLOCK_SPOTS",
    "LAID_GRID",
    "THUMBNAIL_PIXELS",
    "WHOLE_SECTION_SPOTS",
    "FeaturePredictor",
    "TilePredictor",
    "grid_pitch",
    "lay_grid",
    "model_data",
    "predict",
    "predict_blocks",
    "predict_cohort",
    "predict_section",
    "predict_spots",
    "require_preprocessing",
    "run_model",
    "spatial_blocks",
    "write_geojson",
    "write_h5ad",
    "write_regions_geojson",
    "write_spatialdata",
]
