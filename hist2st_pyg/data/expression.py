"""Choose the gene panel, and compute the target from its counts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.datasets import paper_panel
from hist2st_pyg.io.tables import check_genes, read_genes
from hist2st_pyg.section import Section
from hist2st_pyg.utils.resolver import check_choice
from hist2st_pyg.utils.rows import row_blocks
from hist2st_pyg.utils.runtime import preserve_num_threads

logger = logging.getLogger(__name__)

DETECTED_SHARE = 0.1
"""Least share of the spots with a count of a detected gene."""
SMALL_PANEL = 2
"""Largest panel for which a warning says that shares of its counts are not a useful target."""
MOST_NAMED = 10
"""Largest number of genes that a message names."""
NormalizeBy = Literal["panel", "all"]
"""The divisor of a spot's counts: its total over the panel (the paper's rule) or over all genes."""


@preserve_num_threads()
def variable_genes(sections: Sequence[Section], n_genes: int) -> list[str]:
    """The most variable genes of the training sections, by scanpy (Seurat's normalized dispersion, within sections).

    Genes detected in less than a tenth of the spots are left out, as in the HEST benchmark (Jaume et al. 2024): the few
    counts of a rare gene leave little to predict.

    Args:
        sections: The training sections, and no others.
        n_genes: Number of genes, K.

    Returns:
        The genes, most variable first.

    Raises:
        ValueError: If the sections share fewer than ``n_genes`` such genes.
    """
    import anndata
    import scanpy as sc

    genes = _detected(sections)
    if len(genes) < n_genes:
        raise ValueError(
            f"The training sections share {len(genes)} genes that are detected in {DETECTED_SHARE:.0%} of the spots, "
            f"fewer than the panel's {n_genes}; set a smaller n_genes."
        )
    # Copy: scanpy's steps change the counts in place, and the other genes would take most of the memory.
    parts = {s.name: s.adata[:, genes] for s in sections}
    pooled = anndata.concat(parts, label="section", join="inner", index_unique="-")
    pooled.obs = pooled.obs[["section"]]  # scanpy would convert its other texts to categories, and log it
    sc.pp.normalize_total(pooled, target_sum=1e4)
    sc.pp.log1p(pooled)
    table = sc.pp.highly_variable_genes(pooled, n_top_genes=n_genes, batch_key="section", inplace=False)
    table.index = pooled.var_names
    table = table[table["highly_variable"]]
    order = np.lexsort((table.index.to_numpy(str), -table["dispersions_norm"].to_numpy()))
    return [str(gene) for gene in table.index[order]]


def _detected(sections: Sequence[Section]) -> list[str]:
    """The genes of all sections that are detected in a tenth of their spots, in the order of the first section's."""
    shared = sections[0].adata.var_names
    for section in sections[1:]:
        shared = shared.intersection(section.adata.var_names, sort=False)
    seen = np.zeros(len(shared), dtype=np.int64)
    for section in sections:
        counted = np.sum([np.asarray((rows > 0).sum(0)).ravel() for rows in row_blocks(section.adata.X)], axis=0)
        seen += counted[section.adata.var_names.get_indexer(shared)]
    return [str(gene) for gene in shared[seen >= math.ceil(DETECTED_SHARE * sum(map(len, sections)))]]


def genes_of_variance(sections: Sequence[Section], n_genes: int) -> list[str]:
    """The genes whose log10 expression (of 10,000 counts of all genes) varies most over the training spots.

    Args:
        sections: The training sections, and no others.
        n_genes: Number of genes, K.

    Returns:
        The genes, in the order of the first section's.

    Raises:
        ValueError: If the sections share fewer than ``n_genes`` genes.
    """
    shared = set.intersection(*(set(section.adata.var_names) for section in sections))
    genes = [str(gene) for gene in sections[0].adata.var_names if gene in shared]
    if len(genes) < n_genes:
        raise ValueError(f"The training sections share {len(genes)} genes, fewer than the panel's {n_genes}.")
    return [genes[i] for i in np.sort(most_varying(sections, genes, n_genes, "all"))]


def most_varying(
    sections: Sequence[Section], genes: Sequence[str], n: int, normalize_by: NormalizeBy
) -> NDArray[np.intp]:
    """Indices of the ``n`` genes whose target varies most over the spots of all sections, most variable first."""
    first, second = np.zeros((2, len(genes)))
    for section in sections:
        counts, _ = sparse_panel_counts(section, genes)
        totals = target_totals(section, counts, normalize_by)
        for rows, total in zip(row_blocks(counts), row_blocks(totals), strict=True):
            target = expression(rows.toarray(), total).astype(np.float64)
            first, second = first + target.sum(0), second + (target**2).sum(0)
    spots = sum(map(len, sections))
    return np.argsort(-(second / spots - (first / spots) ** 2), kind="stable")[:n]


def gene_panel(
    panel: str | Sequence[str],
    sections: Sequence[Section],
    n_genes: int,
    dataset: str = "",
    root: str | Path | None = None,
) -> list[str]:
    """Resolve a user's panel to its genes.

    A gene that no training section measured is left out, with a warning: its weights would not be trained.

    Args:
        panel: ``"variable"`` (the K most variable genes of the training sections, relative to genes of their level),
            ``"variance"`` (those of the largest variance), ``"paper"`` (the data set's published list), the path of a
            file with one gene per line, or the genes themselves.
        sections: The training sections.
        n_genes: K, for ``"variable"`` and ``"variance"``.
        dataset: The data set's key, for ``"paper"``.
        root: The data set's folder, for ``"paper"``.

    Returns:
        The genes, in the order in which they are given, or most variable first.

    Raises:
        ValueError: If no training section has any gene of the panel.
    """
    if not isinstance(panel, str):
        genes, source = list(panel), "panel"
    elif panel == "variable":
        return variable_genes(sections, n_genes)
    elif panel == "variance":
        return genes_of_variance(sections, n_genes)
    elif panel == "paper":
        if root is None:
            raise ValueError("panel='paper' needs the data set's root, the folder with its list of genes.")
        genes, source = paper_panel(dataset, root), f"the paper's panel for {dataset!r}"
    else:
        genes, source = read_genes(panel), panel
    check_genes(genes, source)
    left_out = unmeasured_genes(genes, sections)
    if len(left_out) == len(genes):
        raise ValueError(f"{source}: none of its {len(genes)} genes ({genes[0]!r}, ...) is in the training sections.")
    if left_out:
        logger.warning(
            "%s: %d of %d genes are in no training section and are left out: %s",
            source, len(left_out), len(genes), listed(left_out),
        )  # fmt: skip
    absent = set(left_out)
    return [gene for gene in genes if gene not in absent]


def unmeasured_genes(genes: Sequence[str], sections: Sequence[Section]) -> list[str]:
    """The genes that none of the sections measured."""
    measured = {gene for section in sections for gene in section.adata.var_names}
    return [gene for gene in genes if gene not in measured]


def listed(genes: Sequence[str]) -> str:
    """The first ten genes, for a message."""
    return ", ".join(map(repr, genes[:MOST_NAMED])) + (", ..." if len(genes) > MOST_NAMED else "")


def panel_counts(section: Section, genes: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The counts of a panel, in its order.

    Returns:
        Counts [N, G] and the gene mask [G]: False where the section did not measure the gene (its counts are 0).
    """
    counts, mask = sparse_panel_counts(section, genes)
    return counts.toarray(), mask


def sparse_panel_counts(section: Section, genes: Sequence[str]) -> tuple[Any, NDArray[np.bool_]]:
    """As :func:`panel_counts`, with the counts as scipy's ``csr_matrix``."""
    from scipy.sparse import csr_matrix

    where = section.adata.var_names.get_indexer(list(genes))
    mask = where >= 0
    measured = csr_matrix(section.adata.X[:, where[mask]], dtype=np.float32)
    parts = measured.data, np.flatnonzero(mask).astype(measured.indices.dtype)[measured.indices], measured.indptr
    return csr_matrix(parts, shape=(len(section), len(genes))), mask


def expression_target(
    section: Section, counts: NDArray[np.float32], normalize_by: NormalizeBy = "panel"
) -> NDArray[np.float32]:
    """The target: each spot's counts scaled to 10,000, then log10(1 + x).

    Args:
        section: The section the counts are from.
        counts: Its counts of the panel [N, G].
        normalize_by: Scale by the spot's total over the ``"panel"`` (the paper's rule) or over ``"all"`` genes.

    Returns:
        log10 expression [N, G]; a spot without counts has 0 everywhere.
    """
    return expression(counts, target_totals(section, counts, normalize_by))


def expression(counts: NDArray[np.float32], totals: NDArray[np.float32]) -> NDArray[np.float32]:
    """The target of some spots, from their counts [n, G] and their totals [n, 1] of :func:`target_totals`."""
    target: NDArray[np.float32] = log_expression(counts, totals).astype(np.float32)
    return target


def target_totals(section: Section, counts: Any, normalize_by: NormalizeBy) -> NDArray[np.float32]:
    """The divisor of each spot's counts, [N, 1]; arguments as in :func:`expression_target`, counts also sparse."""
    check_choice(get_args(NormalizeBy), normalize_by, "normalize_by")
    if normalize_by == "panel":
        if counts.shape[1] <= SMALL_PANEL:
            logger.warning(
                "%s: shares of the panel's counts are hardly informative in a panel of %d; set normalize_by: all to "
                "divide by the counts of all genes",
                section.name, counts.shape[1],
            )  # fmt: skip
        totals = np.asarray(counts.sum(1)).ravel()
    else:
        totals = _all_counts(section)
    return totals.astype(np.float32)[:, None]


def totals_of(section: Section, normalize_by: NormalizeBy) -> NDArray[Any] | None:
    """The divisor of each spot's counts [N] if it is the total over all genes; None if it is the panel's."""
    return _all_counts(section) if normalize_by == "all" else None


def _all_counts(section: Section) -> NDArray[Any]:
    return np.asarray(section.adata.X.sum(1)).ravel()


def log_expression(counts: NDArray[Any], totals: NDArray[Any]) -> NDArray[Any]:
    """log10(1 + 10,000 · counts / total), with the totals [N, 1]; a spot without counts has 0 everywhere."""
    expression: NDArray[Any] = np.log10(1 + 1e4 * counts / np.maximum(totals, 1))
    return expression
