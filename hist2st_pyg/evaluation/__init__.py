"""Honest evaluation: metrics that count what they leave out, and figures."""

from __future__ import annotations

from hist2st_pyg.evaluation.metrics import mae, pearson_per_gene, rmse, summarise

__all__ = ["mae", "pearson_per_gene", "rmse", "summarise"]
