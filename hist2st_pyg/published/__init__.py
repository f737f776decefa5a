"""Checkpoints that the original programs wrote: which they are, what their weights tell, and our models of them."""

from hist2st_pyg.published.arguments import ORIGINALS, Original
from hist2st_pyg.published.convert import Converted, convert, read_config

__all__ = ["ORIGINALS", "Converted", "Original", "convert", "read_config"]
