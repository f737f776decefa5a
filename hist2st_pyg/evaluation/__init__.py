"""Honest evaluation of a model on measured sections."""

from __future__ import annotations

from hist2st_pyg.metrics import mae, pearson_per_gene, rmse, summarise

__all__ = ["mae", "pearson_per_gene", "rmse", "summarise"]
