"""Convert a prediction to an AnnData with its metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import spot_pitch
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.inference.blocks import Prediction
from hist2st_pyg.inference.layout import THUMBNAIL_PIXELS
from hist2st_pyg.io.spots import Spots
from hist2st_pyg.models.base import ExpressionModel, require_preprocessing
from hist2st_pyg.utils.file_names import file_name

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame


def _var(model: ExpressionModel, kept: list[int]) -> DataFrame:
    """Return the training's record of each gene: numbers (nan if missing) and booleans."""
    import pandas as pd

    columns = {
        name: np.array(values, dtype=bool if name == "detected" else float) for name, values in model.gene_trust.items()
    }
    return pd.DataFrame(columns, index=list(model.genes)).iloc[kept]


def _library(name: str) -> str:
    """Convert the section's name to a key of ``uns``, which files store as a path."""
    return file_name(name) if name in ("", ".", "..") or set(name) & {"/", "\0"} else name


def prediction_adata(
    model: ExpressionModel,
    predicted: Prediction,
    kept: list[int],
    spots: Spots,
    image: HistologyImage | None,
    thumbnail: NDArray[np.uint8] | None,
    name: str,
    notes: list[str],
    facts: dict[str, Any],
    spot_diameter: float | None = None,
) -> AnnData:
    """Build the AnnData that :func:`~hist2st_pyg.predict` documents.

    Args:
        model: The model.
        predicted: Its prediction.
        kept: The panel indices of the predicted genes.
        spots: The spots.
        image: The image, or None.
        thumbnail: Its thumbnail; None computes it.
        name: The section's name.
        notes: Warnings in addition to the prediction's own.
        facts: Further entries of ``uns["hist2st"]``; None is left out.
        spot_diameter: Diameter of the spots in pixels, if known.
    """
    import anndata
    import pandas as pd

    preprocessing = require_preprocessing(model)
    values = dict(predicted.values)
    result = anndata.AnnData(
        X=values.pop("expression"),
        obs=pd.DataFrame({"array_col": spots.grid[:, 0], "array_row": spots.grid[:, 1]}, index=spots.names),
        var=_var(model, kept),
        obsm={"spatial": spots.pos, "hist2st": values.pop("embedding")},
        layers=values,
    )
    pitch = spot_pitch(spots.pos)
    if image is not None:
        small = image.thumbnail(THUMBNAIL_PIXELS) if thumbnail is None else thumbnail
        result.uns["spatial"] = {
            _library(name): {
                "images": {"hires": small},
                "scalefactors": {
                    "tissue_hires_scalef": small.shape[1] / image.size[0],
                    # Draw spots of unknown size half a pitch wide, approximately as in ST and Visium.
                    "spot_diameter_fullres": pitch / 2 if spot_diameter is None else spot_diameter,
                },
                "metadata": {},
            }
        }
    known = {**facts, "pitch": pitch, "color_distance": predicted.color_distance}
    if note := " ".join([*notes, *predicted.notes]):
        known["note"] = note
    trained = model.training_sections.get("train", [])
    result.uns["hist2st"] = {
        "normalize_by": preprocessing.normalize_by,
        "unit": f"log10(1 + counts per 10,000 of the {preprocessing.normalize_by} genes' counts)",
        "training_sections": [section.name for section in trained],
        "training_patients": sorted({section.patient for section in trained if section.patient is not None}),
        "task": model.task,
        **{key: value for key, value in known.items() if value is not None},
    }
    return result
