"""Spatial gene expression from histology: Hist2ST as a PyTorch Geometric toolkit."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from hist2st_pyg.utils import quiet as _quiet  # noqa: F401 - first, because it imports PyTorch Geometric

# isort: split
from hist2st_pyg import compat, evaluation, losses, nn
from hist2st_pyg.data import Preprocessing, grid_edges, knn_edges, prune_distant, radius_edges, to_data
from hist2st_pyg.datasets import DATASETS, load_sections
from hist2st_pyg.models import MODELS, Hist2ST, HisToGene, load_model
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    from hist2st_pyg.evaluation.model_scores import evaluate
    from hist2st_pyg.inference import predict, predict_section
    from hist2st_pyg.training import (
        ExpressionTask,
        SectionDataModule,
        TrainConfig,
        make_datamodule,
        make_model,
        preset_config,
        train,
    )

_LAZY = {
    "ExpressionTask": "hist2st_pyg.training",
    "SectionDataModule": "hist2st_pyg.training",
    "TrainConfig": "hist2st_pyg.training",
    "evaluate": "hist2st_pyg.evaluation.model_scores",
    "make_datamodule": "hist2st_pyg.training",
    "make_model": "hist2st_pyg.training",
    "predict": "hist2st_pyg.inference",
    "predict_section": "hist2st_pyg.inference",
    "preset_config": "hist2st_pyg.training",
    "train": "hist2st_pyg.training",
}
"""Names that need Lightning or scanpy and their modules; they are imported on first use."""

__all__ = [
    "DATASETS",
    "MODELS",
    "ExpressionTask",
    "HisToGene",
    "Hist2ST",
    "Preprocessing",
    "Section",
    "SectionDataModule",
    "TrainConfig",
    "compat",
    "evaluate",
    "evaluation",
    "grid_edges",
    "knn_edges",
    "load_model",
    "load_sections",
    "losses",
    "make_datamodule",
    "make_model",
    "nn",
    "predict",
    "predict_section",
    "preset_config",
    "prune_distant",
    "radius_edges",
    "to_data",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import what needs Lightning or scanpy, and the submodules, on first use: ``import hist2st_pyg`` stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("hist2st_pyg")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _submodules():
        return importlib.import_module(f"hist2st_pyg.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names and the submodules, whether they are imported yet or not."""
    return sorted({*__all__, *_submodules(), "__version__"})


def _submodules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
