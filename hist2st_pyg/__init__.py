"""Spatial gene expression from histology: Hist2ST as a PyTorch Geometric toolkit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hist2st_pyg.utils import quiet as _quiet  # noqa: F401 - first, for it imports PyTorch Geometric

# isort: split
from hist2st_pyg import compat, evaluation, losses, nn
from hist2st_pyg.data import Preprocessing, grid_edges, knn_edges, prune_distant, radius_edges, to_data
from hist2st_pyg.datasets import DATASETS, load_sections
from hist2st_pyg.models import MODELS, Hist2ST, HisToGene, load_model
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    from hist2st_pyg.evaluation.run import evaluate
    from hist2st_pyg.inference import predict, predict_section
    from hist2st_pyg.training import ExpressionTask, train
    from hist2st_pyg.training.datamodule import SectionDataModule

_LAZY = {
    "ExpressionTask": "hist2st_pyg.training",
    "SectionDataModule": "hist2st_pyg.training.datamodule",
    "evaluate": "hist2st_pyg.evaluation.run",
    "predict": "hist2st_pyg.inference",
    "predict_section": "hist2st_pyg.inference",
    "train": "hist2st_pyg.training",
}

__all__ = [
    "DATASETS",
    "MODELS",
    "ExpressionTask",
    "HisToGene",
    "Hist2ST",
    "Preprocessing",
    "Section",
    "SectionDataModule",
    "compat",
    "evaluate",
    "evaluation",
    "grid_edges",
    "knn_edges",
    "load_model",
    "load_sections",
    "losses",
    "nn",
    "predict",
    "predict_section",
    "prune_distant",
    "radius_edges",
    "to_data",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import functions that need Lightning or scanpy on first use, so that ``import hist2st_pyg`` stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("hist2st_pyg")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
