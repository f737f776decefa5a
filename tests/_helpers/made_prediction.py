"""A prediction as ``predict_section`` gives it, made without a model, and counts of exactly its distribution."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

SIDE, GENES = 8, 24
LABELS = np.array(["tumor", "stroma", "fat"], dtype=object)
SETS = {"TUMOR": [f"GENE{i}" for i in range(6)], "STROMA": [f"GENE{i}" for i in range(8, 15)]}
"""Sets of genes, of which each marks a band."""


def made_prediction(seed: int = 0) -> tuple[AnnData, AnnData]:
    """64 spots on a square array, three bands of tissue with eight markers each, a ZINB's layers; and raw counts."""
    rng = np.random.default_rng(seed)
    column, row = (values.ravel() for values in np.meshgrid(np.arange(SIDE), np.arange(SIDE)))
    tissue = np.digitize(column, [3, 6])
    marks = np.arange(GENES) // 8
    mean = 4 * np.where(tissue[:, None] == marks, 6.0, 1.0) * rng.lognormal(0, 0.15, (SIDE**2, GENES))
    dispersion, dropout = rng.uniform(2, 6, GENES), rng.uniform(0, 0.3, GENES)
    drawn = rng.poisson(rng.gamma(dispersion, mean / dispersion))
    counts = np.where(rng.random(mean.shape) < dropout, 0, drawn)
    kept = (1 - dropout) * mean
    layers = {
        "mean": kept,
        "sd": np.sqrt((1 - dropout) * (mean + mean**2 * (1 / dispersion + dropout))),
        "zero_probability": dropout + (1 - dropout) * (dispersion / (dispersion + mean)) ** dispersion,
    }
    names = [f"{c}x{r}" for c, r in zip(column, row, strict=True)]
    genes = pd.DataFrame(index=[f"GENE{i}" for i in range(GENES)])
    pos = 50.0 * np.stack([1 + column, 1 + row], axis=1)
    prediction = AnnData(
        np.log10(1 + 1e4 * kept / kept.sum(1, keepdims=True)).astype(np.float32),
        obs=pd.DataFrame({"array_col": column, "array_row": row, "tissue": LABELS[tissue]}, index=names),
        var=genes,
        obsm={"spatial": pos},
        layers={name: values.astype(np.float32) for name, values in layers.items()},
    )
    prediction.uns["spatial"] = {
        "made": {
            "images": {"hires": rng.integers(120, 255, (90, 90, 3), dtype=np.uint8)},
            "scalefactors": {"tissue_hires_scalef": 0.2, "spot_diameter_fullres": 25.0},
            "metadata": {},
        }
    }
    unit = "log10(1 + counts per 10,000 of the panel genes' counts)"
    prediction.uns["hist2st"] = {"total": "panel", "unit": unit, "positions": "spots given"}
    measured = AnnData(counts.astype(np.float32), obs=pd.DataFrame(index=names), var=genes, obsm={"spatial": pos})
    measured.uns["parameters"] = {"mean": mean, "dispersion": np.tile(dispersion, (SIDE**2, 1)), "dropout": dropout}
    return prediction, measured
