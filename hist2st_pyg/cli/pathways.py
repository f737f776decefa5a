"""Score gene sets on a prediction; test gene lists for enrichment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hist2st_pyg.cli._downstream import add_measured, add_outputs, draw, prediction_of, write_tables

if TYPE_CHECKING:
    from anndata import AnnData
    from jsonargparse import ArgumentParser, Namespace
    from pandas import DataFrame

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st pathways slide.h5ad --gene_sets hallmarks.gmt -o pathways.csv",)
MORAN = "moran"
N_TOP = 50


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("prediction", type=str, help="The .h5ad of a prediction.")
    parser.add_argument(
        "--gene_sets", type=str, required=True, help="A .gmt, a .csv as in her2st's go-sets, or a folder of them."
    )
    parser.add_argument("--min_genes", type=int, default=5, help="Smallest number of a set's genes in the panel.")
    parser.add_argument(
        "--enrich",
        type=str | None,
        default=None,
        help=f"Also test which sets are over-represented in the {N_TOP} genes with the highest I (moran), or in the "
        "markers of each region (a column of obs).",
    )
    add_measured(parser)
    parser.add_argument("--seed", type=int, default=0, help="Seed of the scores' control genes.")
    add_outputs(parser, "The .csv of gene sets; <name>_scores.csv and <name>_enrichment.csv are written next to it.")
    return run


def run(parsed: Namespace) -> None:
    """Score the spots, compare with measured scores, test gene lists; print, write tables, draw maps."""
    from functools import partial

    from hist2st_pyg.analysis.gene_sets import panel_sets, read_gene_sets
    from hist2st_pyg.analysis.genes import check_regions
    from hist2st_pyg.analysis.pathways import draw_enrichment, draw_scores, enrich, score_agreement, score_gene_sets
    from hist2st_pyg.analysis.predictions import is_prediction, read_measured
    from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i

    adata = prediction_of(parsed)
    if parsed.enrich not in (None, MORAN):
        check_regions(adata, parsed.enrich)
    read = read_gene_sets(parsed.gene_sets)
    sets = panel_sets(read, list(adata.var_names), parsed.min_genes)
    options = {"min_genes": parsed.min_genes, "seed": parsed.seed}
    scores = score_gene_sets(adata, sets, **options)
    table = scores.T[[]].rename_axis("gene_set")
    table["genes"] = [len(set(read[name])) for name in table.index]
    table["in_panel"] = [len(sets[name]) for name in table.index]
    table["moran"] = morans_i(scores.to_numpy(), adjacent_edges(adata.obsm["spatial"]))
    print(f"{len(sets)} of {len(read)} gene sets have {parsed.min_genes} genes in the panel of {adata.n_vars}.")
    drawn, measured = scores, None
    if parsed.measured is not None:
        agreement, drawn, measured = score_agreement(
            adata, read_measured(parsed.measured, **vars(parsed.data)), sets, **options
        )
        table = table.join(agreement)
        print(f"Predicted and measured scores: mean PCC {table['pearson'].mean():.3f} over {len(drawn)} spots.")
    print(table.round(3).sort_values("pearson" if measured is not None else "moran", ascending=False).to_string())
    tables = {"": table, "_scores": scores.rename_axis("spot")}
    if parsed.enrich is not None:
        tables["_enrichment"] = enrich(
            _lists(adata, parsed.enrich), sets, list(adata.var_names), min_genes=parsed.min_genes
        ).set_index("Group")
        if is_prediction(adata):
            print(f"{parsed.prediction} is a prediction: the p-values compare lists of genes, not measured expression.")
        print(tables["_enrichment"].iloc[:, :4].to_string() or "No list shares a gene with a set.")
    write_tables(parsed, tables)
    pictures = {"The scores": partial(draw_scores, adata, parsed.figures, drawn, measured)}
    if parsed.enrich is not None and not tables["_enrichment"].empty:
        enriched = tables["_enrichment"].reset_index()
        pictures["The enrichment"] = partial(draw_enrichment, adata, parsed.figures, enriched)
    draw(parsed, pictures)


def _lists(adata: AnnData, of: str) -> dict[str, list[str]]:
    """Return the gene lists to test: the genes with the highest Moran's I, or the markers of each region."""
    from hist2st_pyg.analysis.genes import marker_table, rank_markers, spatial_genes, top_markers, top_spatial

    if of == MORAN:
        return {f"{N_TOP} genes of the highest I": top_spatial(spatial_genes(adata), N_TOP)}
    ranked: DataFrame = marker_table(rank_markers(adata, of))
    return top_markers(ranked, N_TOP)
