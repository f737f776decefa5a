"""Prediction: a model and an image in, an AnnData out."""

from hist2st_pyg.inference.prediction import (
    GRID,
    THUMBNAIL,
    grid_pitch,
    lay_grid,
    model_data,
    predict,
    predict_section,
    require_recipe,
    run_model,
    write_h5ad,
)

__all__ = [
    "GRID",
    "THUMBNAIL",
    "grid_pitch",
    "lay_grid",
    "model_data",
    "predict",
    "predict_section",
    "require_recipe",
    "run_model",
    "write_h5ad",
]
