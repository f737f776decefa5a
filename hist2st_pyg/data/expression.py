"""The gene panel, and the target made of its counts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.datasets import paper_panel
from hist2st_pyg.io.tables import check_genes, read_genes
from hist2st_pyg.section import Section
from hist2st_pyg.utils.runtime import preserve_num_threads

logger = logging.getLogger(__name__)

DETECTED_SHARE = 0.1
"""The share of the spots in which a variable gene is seen."""
SMALL_PANEL = 2
"""The genes of a panel up to which a warning says that their share of its counts is no target."""
NAMED = 10
"""How many of the genes that are left out a warning names."""
NormalizeBy = Literal["panel", "all"]
"""What a spot's counts are divided by: its total over the panel (the paper's rule) or over all genes."""


@preserve_num_threads()
def variable_genes(sections: Sequence[Section], n_genes: int) -> list[str]:
    """The most variable genes of the training sections, by scanpy (Seurat's normalized dispersion, within sections).

    Genes seen in less than a tenth of the spots are left out, as in the HEST benchmark (Jaume et al. 2024): among the
    few counts of a rare gene there is little to predict.

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

    pooled = anndata.concat({s.name: s.adata for s in sections}, label="section", join="inner", index_unique="-")
    pooled.obs = pooled.obs[["section"]]  # scanpy would make categories of its other texts, and tell
    sc.pp.filter_genes(pooled, min_cells=math.ceil(DETECTED_SHARE * pooled.n_obs))
    if pooled.n_vars < n_genes:
        raise ValueError(
            f"The training sections share {pooled.n_vars} genes that are seen in {DETECTED_SHARE:.0%} of the spots; a "
            f"panel of {n_genes} is too many."
        )
    sc.pp.normalize_total(pooled, target_sum=1e4)
    sc.pp.log1p(pooled)
    table = sc.pp.highly_variable_genes(pooled, n_top_genes=n_genes, batch_key="section", inplace=False)
    table.index = pooled.var_names
    table = table[table["highly_variable"]]
    order = np.lexsort((table.index.to_numpy(str), -table["dispersions_norm"].to_numpy()))
    return [str(gene) for gene in table.index[order]]


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
        raise ValueError(f"The training sections share {len(genes)} genes; a panel of {n_genes} is too many.")
    return [genes[i] for i in np.sort(most_varying(sections, genes, n_genes, "all"))]


def most_varying(
    sections: Sequence[Section], genes: Sequence[str], n: int, normalize_by: NormalizeBy
) -> NDArray[np.intp]:
    """Places of the ``n`` genes whose target varies most over the spots of all sections, most variable first."""
    spots = np.concatenate([expression_target(s, panel_counts(s, genes)[0], normalize_by) for s in sections])
    return np.argsort(-spots.var(0), kind="stable")[:n]


def gene_panel(
    panel: str | Sequence[str],
    sections: Sequence[Section],
    n_genes: int,
    dataset: str = "",
    root: str | Path | None = None,
) -> list[str]:
    """Resolve what a user gives as panel.

    A gene that no training section measured is left out, with a warning: no weight of it would be trained.

    Args:
        panel: ``"variable"`` (the K most variable genes of the training sections, relative to genes of their level),
            ``"variance"`` (those of the largest variance), ``"paper"`` (the data set's published list), the path of a
            file with one gene a line, or the genes themselves.
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
    measured = {gene for section in sections for gene in section.adata.var_names}
    left_out = [gene for gene in genes if gene not in measured]
    if len(left_out) == len(genes):
        raise ValueError(f"{source}: none of its {len(genes)} genes ({genes[0]!r}, ...) is in the training sections.")
    if left_out:
        shown = ", ".join(map(repr, left_out[:NAMED])) + (", ..." if len(left_out) > NAMED else "")
        logger.warning(
            "%s: %d of %d genes are in no training section and are left out: %s",
            source, len(left_out), len(genes), shown,
        )  # fmt: skip
    return [gene for gene in genes if gene in measured]


def panel_counts(section: Section, genes: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The counts of a panel, in its order.

    Returns:
        Counts [N, G] and the gene mask [G]: False where the section did not measure the gene (its counts are 0).
    """
    where = section.adata.var_names.get_indexer(list(genes))
    mask = where >= 0
    measured = section.adata.X[:, where[mask]]
    counts = np.zeros((len(section), len(genes)), dtype=np.float32)
    counts[:, mask] = measured.toarray() if hasattr(measured, "toarray") else measured
    return counts, mask


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
    if normalize_by == "panel":
        if counts.shape[1] <= SMALL_PANEL:
            logger.warning(
                "%s: a share of the panel's counts says little in a panel of %d (of one gene it is all or nothing); "
                "normalize_by: all divides by the counts of all genes",
                section.name, counts.shape[1],
            )  # fmt: skip
        totals = counts.sum(1, keepdims=True)
    elif normalize_by == "all":
        totals = _all_counts(section).astype(np.float32)[:, None]
    else:
        raise ValueError(f"Unknown normalize_by={normalize_by!r}. Choose one of: panel, all.")
    target: NDArray[np.float32] = log_expression(counts, totals).astype(np.float32)
    return target


def totals_of(section: Section, normalize_by: NormalizeBy) -> NDArray[Any] | None:
    """What a spot's counts are divided by [N] where that is its total over all genes; None where it is the panel's."""
    return _all_counts(section) if normalize_by == "all" else None


def _all_counts(section: Section) -> NDArray[Any]:
    return np.asarray(section.adata.X.sum(1)).ravel()


def log_expression(counts: NDArray[Any], totals: NDArray[Any]) -> NDArray[Any]:
    """log10(1 + 10,000 · counts / total), with the totals [N, 1]; a spot without counts has 0 everywhere."""
    expression: NDArray[Any] = np.log10(1 + 1e4 * counts / np.maximum(totals, 1))
    return expression
