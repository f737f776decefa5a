"""The models, one per file."""

from hist2st_pyg.models.base import ClosedFormModel, ExpressionModel
from hist2st_pyg.models.bleep import Bleep
from hist2st_pyg.models.eggn import Eggn
from hist2st_pyg.models.hggep import HGGEP
from hist2st_pyg.models.hist2st import Hist2ST
from hist2st_pyg.models.histogene import HisToGene
from hist2st_pyg.models.registry import MODELS, load_model
from hist2st_pyg.models.stnet import STNet
from hist2st_pyg.models.triplex import TRIPLEX

__all__ = [
    "HGGEP",
    "MODELS",
    "TRIPLEX",
    "Bleep",
    "ClosedFormModel",
    "Eggn",
    "ExpressionModel",
    "HisToGene",
    "Hist2ST",
    "STNet",
    "load_model",
]
