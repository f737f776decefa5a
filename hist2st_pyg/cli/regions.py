"""Find regions in a prediction; compare them with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hist2st_pyg.cli._downstream import add_outputs, draw, prediction_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st regions slide.h5ad -o regions.h5ad --figures figures",)


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("prediction", type=str, help="The .h5ad of a prediction.")
    parser.add_argument(
        "--labels",
        type=str | None,
        default=None,
        help="her2st's *_labeled_coordinates.tsv, CSV of spot and label, QuPath's .geojson, or a column of obs; "
        "default: obs['label'].",
    )
    parser.add_argument(
        "--method",
        type=str,
        default="leiden",
        help="leiden (finds their number), kmeans, or paper (Hist2ST's published k-means, which needs labels).",
    )
    parser.add_argument(
        "--n_regions", type=int | None, default=None, help="Number of regions of kmeans; default: the number of labels."
    )
    parser.add_argument("--resolution", type=float, default=1.0, help="Leiden's resolution; higher gives more regions.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the clustering.")
    text = "The .h5ad to write, with obs['region'], or the .geojson with the regions' outlines for QuPath."
    add_outputs(parser, text)
    return run


def run(parsed: Namespace) -> None:
    """Find regions, print their sizes and the agreement with labels, write the ``.h5ad``, draw the picture."""
    from functools import partial

    from hist2st_pyg.analysis.labels import labels_of
    from hist2st_pyg.analysis.regions import REGION_KEY, agreement, draw_regions, find_regions, n_labels
    from hist2st_pyg.inference import write_h5ad, write_regions_geojson
    from hist2st_pyg.io.tables import UNLABELED

    adata = prediction_of(parsed)
    labels = labels_of(adata, parsed.labels)
    n_regions = parsed.n_regions
    if parsed.method == "kmeans" and n_regions is None:
        if labels is None:
            raise ValueError("k-means without labels needs --n_regions.")
        n_regions = n_labels(labels)
    found = find_regions(
        adata, parsed.method, n_regions=n_regions, labels=labels, resolution=parsed.resolution, seed=parsed.seed
    )
    sizes = found.obs[REGION_KEY].value_counts(sort=False).to_dict()
    dropped = sizes.pop(UNLABELED, 0)
    listed = ", ".join(f"{region}: {size}" for region, size in sizes.items())
    print(f"{len(sizes)} regions of {found.n_obs - dropped} spots ({parsed.method}): {listed}.")
    if dropped:
        print(f"{dropped} spots with the label {UNLABELED!r} were dropped.")
    if labels is not None:
        found.obs["label"] = labels
        result = agreement(found.obs[REGION_KEY], labels)
        if result is None:
            print("The spots have fewer than two labels, so agreement cannot be computed.")
        else:
            found.uns[REGION_KEY] |= result
            print(f"ARI {result['ari']:.3f}, NMI {result['nmi']:.3f} against {n_labels(labels)} labels.")
    if parsed.output is not None:
        write = write_regions_geojson if parsed.output.lower().endswith(".geojson") else write_h5ad
        write(found, parsed.output)
        print(f"Regions: {parsed.output}")
    draw(parsed, {"The regions": partial(draw_regions, found, parsed.figures, labels)})
