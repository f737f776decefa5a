"""Calls, weights and checkpoints of the original programs, Hist2ST and HisToGene."""

from hist2st_pyg.compat.arguments import ORIGINALS, Original
from hist2st_pyg.compat.convert import Converted, convert, read_config
from hist2st_pyg.compat.original import Hist2ST, load_hist2st, load_histogene, to_data

__all__ = [
    "ORIGINALS",
    "Converted",
    "Hist2ST",
    "Original",
    "convert",
    "load_hist2st",
    "load_histogene",
    "read_config",
    "to_data",
]
