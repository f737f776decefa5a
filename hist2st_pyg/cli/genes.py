"""Rank a prediction's genes by Moran's I and as markers of regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hist2st_pyg.cli._downstream import add_outputs, draw, prediction_of, write_tables

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = (
    "hist2st genes slide.h5ad -o genes.csv",
    "hist2st genes regions.h5ad --regions --figures figures",
)
N_TOP = 5


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("prediction", type=str, help="The .h5ad of a prediction.")
    parser.add_argument(
        "--regions",
        type=str | None,
        nargs="?",
        const="region",
        default=None,
        help="Column of obs whose markers to rank; default: region, which `hist2st regions -o` writes.",
    )
    text = "The .csv of Moran's I (I_of_prediction for a prediction); markers are written to <name>_markers.csv."
    add_outputs(parser, text)
    return run


def run(parsed: Namespace) -> None:
    """Rank genes by Moran's I and as markers of regions, if any; print the best, write tables, draw maps."""
    from functools import partial

    from hist2st_pyg.analysis import genes as gene_analysis
    from hist2st_pyg.analysis.predictions import is_prediction

    adata = prediction_of(parsed)
    if parsed.regions is not None:
        gene_analysis.check_regions(adata, parsed.regions)
    adata = gene_analysis.spatial_genes(adata)
    table = adata.uns[gene_analysis.MORAN]
    best = ", ".join(f"{gene} {value:.2f}" for gene, value in table["I"][:N_TOP].items())
    written = table.rename_axis("gene")
    if is_prediction(adata):
        written = written.rename(columns={"I": "I_of_prediction"})
        print(f"{parsed.prediction} is a prediction, so its {len(table)} genes are ranked without p-values.")
    else:
        n = (table[gene_analysis.FDR] < 0.05).sum()
        print(f"{n} of {len(table)} genes follow the tissue (FDR 5 %).")
    print(f"Highest Moran's I: {best}.")
    pictures = {"The genes": partial(gene_analysis.draw_genes, adata, parsed.figures)}
    tables = {"": written}
    if parsed.regions is not None:
        adata = gene_analysis.rank_markers(adata, parsed.regions)
        markers = gene_analysis.marker_table(adata)
        for region, genes in gene_analysis.top_markers(markers, N_TOP).items():
            print(f"Markers of {parsed.regions} {region}: {', '.join(genes) or 'none'}.")
        pictures["The markers"] = partial(gene_analysis.draw_markers, adata, parsed.figures, parsed.regions)
        tables["_markers"] = markers
    write_tables(parsed, tables)
    draw(parsed, pictures)
