"""Rank the genes of a prediction by spatial pattern (Moran's I) and as markers of regions.

Genes of a prediction are ranked, not tested. A prediction has no counting noise and is as smooth as the image, so
nearly every gene is far from random, whether or not its expression follows the tissue. Only measured expression has
p-values.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg import figures
from hist2st_pyg.analysis.predictions import background_of, expression_of, file_of, is_prediction, name_of
from hist2st_pyg.analysis.regions import REGION_KEY
from hist2st_pyg.io.tables import UNLABELED
from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i
from hist2st_pyg.utils.runtime import preserve_num_threads

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame, Series
    from scipy.sparse import csr_matrix

logger = logging.getLogger(__name__)

MORAN = "moranI"
FDR = "pval_norm_fdr_bh"
P_ADJUSTED = "pvals_adj"
LOG_BASE = 10.0
"""Base of the expression's logarithm."""
ALIKE_CORRELATION = 0.9
"""Correlation above which the maps of two genes count as the same."""


def spatial_genes(adata: AnnData, layer: str | None = None) -> AnnData:
    """Compute Moran's I of each gene between adjacent spots, with the result of squidpy's ``spatial_autocorr``.

    For measured expression it also computes p-values against a random map: by the normal distribution (Cliff and Ord
    1981), one-sided in the direction of I, corrected for the number of genes (Benjamini and Hochberg 1995).

    Args:
        adata: A prediction, or measured log expression.
        layer: A layer to read instead of ``X``.

    Returns:
        A copy with ``uns["moranI"]``, a table of the genes sorted by ``I``, nan for constant genes; for measured
        expression with ``pval_norm``, ``var_norm``, ``pval_norm_fdr_bh``. ``obsp["spatial_connectivities"]`` holds the
        graph, in squidpy's format.

    Raises:
        ValueError: If ``adata`` has fewer than three spots, or most share a position.
    """
    import pandas as pd

    if adata.n_obs < 3:
        raise ValueError(f"Moran's I needs at least 3 spots, got {adata.n_obs}.")
    edges = adjacent_edges(np.asarray(adata.obsm["spatial"], dtype=np.float64))
    graph = _graph(edges, adata.n_obs)
    scores = morans_i(expression_of(adata, layer), edges)
    columns = {"I": scores, **({} if is_prediction(adata) else _p_values(scores, graph))}
    result = adata.copy()
    result.uns[MORAN] = pd.DataFrame(columns, index=adata.var_names).sort_values("I", ascending=False, kind="stable")
    result.obsp["spatial_connectivities"] = graph
    return result


@preserve_num_threads()
def rank_markers(adata: AnnData, key: str = REGION_KEY) -> AnnData:
    """Rank marker genes of each region by Wilcoxon's rank-sum test against all other spots, through scanpy.

    If the regions were found in the same expression, p-values do not show that a region is real, and neighboring spots
    are not independent (Zhang, Kamath and Tse 2019).

    Args:
        adata: A prediction or measured expression, log10(1 + x).
        key: The column of ``obs`` with the regions; regions of one spot and "undetermined" spots have no markers.

    Returns:
        A copy with ``uns["rank_genes_groups"]`` for :func:`marker_table` and scanpy's pictures, which read its
        p-values; ignore those of a prediction. A fold change is nan if a mean is negative, which happens in predictions
        of nearly absent genes.

    Raises:
        ValueError: If the column does not exist, or has fewer than two regions of two spots.
    """
    import scanpy as sc

    sizes = check_regions(adata, key)
    result = adata.copy()
    result.obs[key] = result.obs[key].astype("category").cat.remove_unused_categories()
    groups = [str(region) for region in sizes.index[sizes > 1]]
    if alone := [str(region) for region in sizes.index[sizes == 1]]:
        logger.warning("%s %s: skipped, because a region of one spot has no markers", key, ", ".join(alone))
    result.obs[key] = result.obs[key].cat.rename_categories(str)
    result.uns["log1p"] = {"base": LOG_BASE}  # scanpy computes the fold change from it
    with np.errstate(invalid="ignore"):
        sc.tl.rank_genes_groups(result, key, groups=groups, method="wilcoxon", tie_correct=True, use_raw=False)
    return result


def check_regions(adata: AnnData, key: str) -> Series[Any]:
    """Return the sizes of the regions, and check that markers can be ranked.

    Raises:
        ValueError: If the column does not exist, or has fewer than two regions of two spots.
    """
    if key not in adata.obs:
        columns = ", ".join(map(str, adata.obs.columns)) or "none"
        raise ValueError(
            f"The prediction has no column obs[{key!r}]; it has {columns}. "
            "Find regions by `hist2st regions PREDICTION.h5ad -o OUT.h5ad`."
        )
    regions = adata.obs[key].astype("category").cat.remove_unused_categories()
    sizes: Series[Any] = regions.value_counts(sort=False).drop(UNLABELED, errors="ignore")
    if (sizes > 1).sum() < 2:
        raise ValueError(f"Markers need two regions of at least 2 spots; obs[{key!r}] has {dict(sizes)}.")
    return sizes


def marker_table(adata: AnnData) -> DataFrame:
    """Return the markers, best first: ``group, names, scores, logfoldchanges``, ``pvals, pvals_adj``.

    Only measured expression has the last two columns.
    """
    import scanpy as sc

    table: DataFrame = sc.get.rank_genes_groups_df(adata, group=None)
    if "group" not in table:  # scanpy omits it for a single group
        table.insert(0, "group", adata.uns["rank_genes_groups"]["names"].dtype.names[0])
    return table.drop(columns=["pvals", P_ADJUSTED]) if is_prediction(adata) else table


def top_spatial(adata: AnnData, n: int = 50, fdr: float = 0.05) -> list[str]:
    """Return at most ``n`` genes with the highest Moran's I, if above that of a random map.

    For measured expression, their adjusted p-values must also be below ``fdr``.
    """
    table: DataFrame = adata.uns[MORAN]
    kept = table["I"] > -1 / (adata.n_obs - 1)
    if FDR in table:
        kept &= table[FDR] < fdr
    return [str(gene) for gene in table.index[kept][:n]]


def top_markers(table: DataFrame, n: int = 50, fdr: float = 0.05) -> dict[str, list[str]]:
    """Return each region's at most ``n`` best markers, among genes with higher expression there.

    Args:
        table: The result of :func:`marker_table`.
        n: Largest number of genes of a region.
        fdr: Largest adjusted p-value, if the table has them.
    """
    higher = table[table["scores"] > 0]
    if P_ADJUSTED in table:
        higher = higher[higher[P_ADJUSTED] < fdr]
    regions = {
        str(region): [str(gene) for gene in part["names"][:n]]
        for region, part in higher.groupby("group", observed=True)
    }
    return {str(region): regions.get(str(region), []) for region in table["group"].unique()}


def draw_genes(adata: AnnData, folder: str | Path, n: int = 7) -> Path:
    """Draw the maps of the genes with the highest Moran's I, ``<name>_spatial_genes.png``.

    Genes that correlate or anticorrelate strongly with a drawn one are skipped, because their maps look the same.

    Args:
        adata: A prediction with ``uns["moranI"]``, as :func:`spatial_genes` returns it.
        folder: Folder of the picture.
        n: Largest number of genes.

    Raises:
        ValueError: If every gene is constant.
    """
    table = adata.uns[MORAN].dropna()
    maps: dict[str, NDArray[np.float64]] = {}
    for gene, values in zip(table.index, expression_of(adata[:, list(table.index)]).T, strict=True):
        if all(abs(np.corrcoef(values, drawn)[0, 1]) < ALIKE_CORRELATION for drawn in maps.values()):
            maps[gene] = values
        if len(maps) == n:
            break
    if not maps:
        raise ValueError("Every gene is constant, so there is no map to draw.")
    titled = {f"{gene}  (I = {table['I'][gene]:.2f})": drawn for gene, drawn in maps.items()}
    of = "predicted expression: a ranking, not a test" if is_prediction(adata) else "measured expression"
    figure = figures.expression_maps(
        adata.obsm["spatial"],
        titled,
        **background_of(adata),
        columns=4 if len(titled) > 4 else 5,
        title=f"{name_of(adata)}: the {len(maps)} of {adata.n_vars} genes with the highest Moran's I, without "
        f"similar maps\nMoran's I of {of}",
    )
    return figures.save(figure, Path(folder) / f"{file_of(adata)}_spatial_genes.png")


def draw_markers(adata: AnnData, folder: str | Path, key: str = REGION_KEY, n: int = 6) -> Path:
    """Draw the mean expression of each region's best markers in all regions, ``<name>_markers.png``.

    Args:
        adata: A prediction with markers, as :func:`rank_markers` returns it.
        folder: Folder of the picture.
        key: The column of ``obs`` with the regions.
        n: Number of markers of a region.

    Raises:
        ValueError: If no region has a marker.
    """
    genes = list(dict.fromkeys(gene for best in top_markers(marker_table(adata), n).values() for gene in best))
    if not genes:
        rate = "" if is_prediction(adata) else " at a false discovery rate of 5 %"
        raise ValueError(f"No gene is a marker of a region of obs[{key!r}]{rate}.")
    values = adata.to_df()[genes]
    standard = (values - values.mean()) / values.std(ddof=0)
    means = standard.groupby(adata.obs[key].to_numpy(str)).mean().T
    # The regions in the order of their markers.
    order = [str(region) for region in adata.obs[key].cat.categories if region != UNLABELED]
    title = f"{name_of(adata)}: markers" + (", ranked in the prediction" if is_prediction(adata) else "")
    figure = figures.heat_map(means[order], title=title, unit="mean standardized expression", column_unit=key)
    return figures.save(figure, Path(folder) / f"{file_of(adata)}_markers.png")


def _graph(edges: NDArray[np.int64], n: int) -> csr_matrix:
    """Build the adjacency [N, N]: 1 if the column's spot is a neighbor of the row's."""
    from scipy.sparse import csr_matrix

    source, target = edges
    return csr_matrix((np.ones(len(source)), (target, source)), shape=(n, n))


def _p_values(scores: NDArray[np.float64], graph: csr_matrix) -> dict[str, NDArray[np.float64]]:
    """Compute the p-value columns of squidpy's table."""
    from scipy.stats import norm
    from statsmodels.stats.multitest import multipletests

    variance = _normal_variance(graph)
    p = norm.sf(np.abs((scores + 1 / (graph.shape[0] - 1)) / np.sqrt(variance)))
    corrected = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        corrected[known] = multipletests(p[known], method="fdr_bh")[1]
    return {"pval_norm": p, "var_norm": np.full(len(p), variance), FDR: corrected}


def _normal_variance(graph: csr_matrix) -> float:
    """Compute the variance of Moran's I of normal values on the row-normalized graph (Cliff and Ord 1981)."""
    from sklearn.preprocessing import normalize

    weights, n = normalize(graph, norm="l1"), graph.shape[0]
    s0 = weights.sum()
    s1 = weights.multiply(weights).sum() + weights.multiply(weights.T).sum()
    s2 = np.square(np.asarray(weights.sum(1)).ravel() + np.asarray(weights.sum(0)).ravel()).sum()
    return float((n**2 * s1 - n * s2 + 3 * s0**2) / ((n**2 - 1) * s0**2) - 1 / (n - 1) ** 2)
