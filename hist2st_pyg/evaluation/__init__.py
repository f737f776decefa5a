"""Evaluation of models on measured sections."""

from __future__ import annotations

from hist2st_pyg.metrics.ceiling import noise_ceiling
from hist2st_pyg.metrics.expression import mae, pearson_per_gene, rmse, spearman_per_gene, summarize

__all__ = ["mae", "noise_ceiling", "pearson_per_gene", "rmse", "spearman_per_gene", "summarize"]
