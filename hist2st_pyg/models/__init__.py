"""The models, each readable in one screen."""

from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.hist2st import Hist2ST
from hist2st_pyg.models.histogene import HisToGene
from hist2st_pyg.models.pretrained import MODELS, load_model

__all__ = ["MODELS", "ExpressionModel", "HisToGene", "Hist2ST", "load_model"]
