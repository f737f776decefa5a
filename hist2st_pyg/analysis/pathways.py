"""Score gene sets on a prediction, test gene lists for enrichment, and compare with measured scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg import figures
from hist2st_pyg.analysis.gene_sets import MIN_GENES, panel_sets
from hist2st_pyg.analysis.predictions import background_of, file_of, measured_expression, name_of
from hist2st_pyg.metrics.expression import pearson_per_gene, spearman_per_gene
from hist2st_pyg.section import Section
from hist2st_pyg.utils.bounds import check_seed
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.runtime import preserve_num_threads

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame

MOST_BINS = 25
LEAST_GENES_PER_BIN = 20
"""Largest number of expression bins for a score's control genes, and smallest number of genes per bin."""
SCORE_UNIT = "mean log10 expression − controls"
P, ADJUSTED = "P-value", "Adjusted P-value"


@preserve_num_threads()
def score_gene_sets(
    adata: AnnData, gene_sets: Mapping[str, Sequence[str]], *, min_genes: int = MIN_GENES, seed: int = 0
) -> DataFrame:
    """Score each spot for each gene set: scanpy's ``score_genes`` (Satija et al. 2015).

    A score is the mean expression of the set's genes minus that of control genes with similar mean expression, so that
    a spot with many counts does not score high in all sets. Control genes come from the rest of the panel, which is
    smaller than the thousands of genes usual in scanpy.

    Args:
        adata: A prediction.
        gene_sets: Genes by the set's name.
        min_genes: Sets with fewer genes in the panel are skipped and logged.
        seed: Seed of the control genes.

    Returns:
        Scores [N spots, sets].

    Raises:
        ValueError: If no set is left, or a set is the whole panel.
    """
    import pandas as pd
    import scanpy as sc

    check_seed(seed)
    kept = panel_sets(gene_sets, list(adata.var_names), min_genes)
    scored = adata.copy()
    scored.obs = pd.DataFrame(index=adata.obs_names)
    bins = int(np.clip(adata.n_vars // LEAST_GENES_PER_BIN, 2, MOST_BINS))
    state = np.random.get_state()  # noqa: NPY002  # scanpy seeds numpy's global generator
    try:
        for name, genes in kept.items():
            try:
                sc.tl.score_genes(scored, genes, score_name=name, n_bins=bins, random_state=seed, use_raw=False)
            except RuntimeError as error:
                raise ValueError(
                    f"The gene set {name!r} has {len(genes)} of the panel's {adata.n_vars} genes, so no control genes "
                    "of similar expression are left; omit the set."
                ) from error
    finally:
        np.random.set_state(state)  # noqa: NPY002
    table: DataFrame = scored.obs
    return table


def enrich(
    gene_lists: Mapping[str, Sequence[str]],
    gene_sets: Mapping[str, Sequence[str]],
    background: Sequence[str],
    *,
    min_genes: int = MIN_GENES,
) -> DataFrame:
    """Test gene sets for over-representation in lists of genes: hypergeometric test, through gseapy, offline.

    Args:
        gene_lists: Genes by the list's name, such as the markers of each region.
        gene_sets: Genes by the set's name.
        background: The genes from which the lists were selected: the panel.
        min_genes: Sets with fewer genes in the panel are skipped and logged.

    Returns:
        A row for each list and set that share a gene, sorted by p-value within the list: ``Group`` (the list) and
        gseapy's columns, ``Term, Overlap, P-value, Adjusted P-value, Odds Ratio, Combined Score, Genes``. P-values are
        corrected for all lists and sets (Benjamini and Hochberg 1995), with p = 1 for those that share no gene.

    Raises:
        ImportError: If the ``pathways`` extra is not installed.
        ValueError: If no set is left, a list has a gene outside the background, or genes are numbers, which gseapy
            would read as Entrez ids.
    """
    import pandas as pd
    from statsmodels.stats.multitest import multipletests

    with require_extra("Enrichment", "gseapy", "pathways"):
        import gseapy
    kept = panel_sets(gene_sets, background, min_genes)
    if all(gene.isdigit() for gene in background):
        raise ValueError(f"Enrichment needs gene symbols, got numbers: {background[0]!r}, ...")
    found = []
    for group, genes in gene_lists.items():
        if outside := [gene for gene in genes if gene not in set(background)]:
            raise ValueError(f"The list {group!r} holds {outside[0]!r}, which is not in the background.")
        if not set(genes) & {gene for members in kept.values() for gene in members}:
            continue  # gseapy returns no table in this case
        table = gseapy.enrich(list(genes), gene_sets=kept, background=list(background), outdir=None).results
        found.append(table.assign(Gene_set=group).rename(columns={"Gene_set": "Group"}))
    columns = ["Group", "Term", "Overlap", P, ADJUSTED, "Odds Ratio", "Combined Score", "Genes"]
    if not found:
        return pd.DataFrame(columns=columns)
    result: DataFrame = pd.concat(found, ignore_index=True)[columns]
    tests = np.ones(len(gene_lists) * len(kept))
    tests[: len(result)] = result[P]
    result[ADJUSTED] = multipletests(tests, method="fdr_bh")[1][: len(result)]
    result["Genes"] = [";".join(sorted(genes.split(";"))) for genes in result["Genes"]]
    order = {group: i for i, group in enumerate(gene_lists)}
    by = pd.DataFrame({"group": result["Group"].map(order), "p": result[P], "term": result["Term"]})
    return result.loc[by.sort_values(["group", "p", "term"]).index].reset_index(drop=True)


def score_agreement(
    adata: AnnData,
    measured: AnnData | Section,
    gene_sets: Mapping[str, Sequence[str]],
    *,
    min_genes: int = MIN_GENES,
    seed: int = 0,
) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Correlate the predicted with the measured scores of each gene set over the spots of a section.

    Args:
        adata: A prediction.
        measured: The same section's raw counts; spots and genes are joined by their names.
        gene_sets: Genes by the set's name.
        min_genes: Sets with fewer predicted and measured genes are skipped and logged.
        seed: Seed of the control genes.

    Returns:
        A table with ``pearson`` and ``spearman`` of each set (nan if the measured score is constant, 0 if the predicted
        one is), the predicted and the measured scores [N spots, sets] of the shared spots and genes.

    Raises:
        ValueError: If prediction and measurement share too few spots or genes, or no set is left.
    """
    import pandas as pd

    predicted, target = measured_expression(adata, measured)
    scores = [score_gene_sets(part, gene_sets, min_genes=min_genes, seed=seed) for part in (predicted, target)]
    true, pred = scores[1].to_numpy(), scores[0].to_numpy()
    columns = {"pearson": pearson_per_gene(true, pred), "spearman": spearman_per_gene(true, pred)}
    return pd.DataFrame(columns, index=scores[0].columns), scores[0], scores[1]


def draw_scores(
    adata: AnnData,
    folder: str | Path,
    scores: DataFrame,
    measured: DataFrame | None = None,
    n: int = 7,
) -> Path:
    """Draw the maps of the gene sets' scores, ``<name>_gene_sets.png``, with measured scores in a second row.

    Args:
        adata: The prediction.
        folder: Folder of the picture.
        scores: Scores [N spots, sets] of some of its spots; the sets that vary most are drawn.
        measured: The same spots' measured scores; the sets that agree best are drawn.
        n: Number of sets.
    """
    pos = np.asarray(adata[scores.index].obsm["spatial"])
    if measured is None:
        best = scores.var().sort_values(ascending=False, kind="stable").index[:n]
        values = {str(name): scores[name].to_numpy() for name in best}
        title = f"{name_of(adata)}: the {len(values)} of {scores.shape[1]} gene sets whose predicted scores vary most"
        figure = figures.expression_maps(pos, values, **background_of(adata), columns=4, unit=SCORE_UNIT, title=title)
    else:
        pcc = pearson_per_gene(measured.to_numpy(), scores.to_numpy())
        names = [str(name) for name in scores.columns]
        best_of = min(n, 4)
        figure = figures.true_and_predicted(
            pos,
            measured,
            scores,
            names,
            pcc,
            n_best=best_of,
            **background_of(adata),
            unit=SCORE_UNIT,
            name=name_of(adata),
            what="gene sets",
        )
    return figures.save(figure, Path(folder) / f"{file_of(adata)}_gene_sets.png")


def draw_enrichment(adata: AnnData, folder: str | Path, table: DataFrame, n: int = 5) -> Path:
    """Draw the best gene sets of each list as dots, ``<name>_enrichment.png``.

    Args:
        adata: The prediction.
        folder: Folder of the picture.
        table: The result of :func:`enrich`.
        n: Number of gene sets of each list.

    Raises:
        ValueError: If no list shares a gene with a set.
    """
    if table.empty:
        raise ValueError("No gene set shares a gene with a list, so enrichment cannot be drawn.")
    best = table.groupby("Group", sort=False).head(n)["Term"].unique()
    rows = table[table["Term"].isin(best)]
    groups = list(dict.fromkeys(rows["Group"]))
    overlap = rows["Overlap"].str.split("/", expand=True).astype(float)
    rows = rows.assign(shade=-np.log10(rows[ADJUSTED]), share=overlap[0] / overlap[1])
    shade, share = (
        rows.pivot(index="Term", columns="Group", values=name).reindex(index=best, columns=groups)
        for name in ("shade", "share")
    )
    figure = figures.dot_plot(
        shade,
        share.fillna(0),
        title=f"{name_of(adata)}: over-represented gene sets",
        unit="−log10 adjusted p-value",
        size_unit="share of the set's genes",
        column_unit="list of genes",
        least=3.0,  # 0.001, so that insignificant sets are pale
    )
    return figures.save(figure, Path(folder) / f"{file_of(adata)}_enrichment.png")
