"""Explain one prediction by neighbors and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.spot_patches import Patches
from hist2st_pyg.explain.neighbors import contributions
from hist2st_pyg.explain.pixels import PixelMap, pixel_map
from hist2st_pyg.explain.receptive_field import eval_mode, features, receptive_field, vision_stages
from hist2st_pyg.inference import require_preprocessing
from hist2st_pyg.models.base import ExpressionModel


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of one gene's prediction at one spot.

    Args:
        gene: The gene.
        spot: The spot's index in the section.
        name: The spot's name.
        predicted: Predicted log10 expression.
        measured: Measured log10 expression, if known.
        neighbors: The spots that the prediction reads, indices in the section [K]: the spot itself, then the others,
            the most important first.
        importance: The contribution of each spot, signed log10 expression [K].
        edges: Edges (source, target) between them, indices in the section [2, M].
        edge_importance: The contribution of each edge's messages, log10 expression [M]; None if the graph layers are
            not PyG's MessagePassing.
        reference: The prediction of average spots: the importances add up to the difference from it.
        pixels: The contributions of the pixels: of the spot's own patch first, then of its most important neighbors'.
    """

    gene: str
    spot: int
    name: str
    predicted: float
    measured: float | None
    neighbors: NDArray[np.int64]
    importance: NDArray[np.float64]
    edges: NDArray[np.int64]
    edge_importance: NDArray[np.float64] | None
    reference: float
    pixels: tuple[PixelMap, ...]


def explain_spot(
    model: ExpressionModel,
    data: SectionData,
    spot: int,
    gene: str,
    *,
    pixels: int = 1,
    steps: int = 32,
    patches: Patches | None = None,
    name: str | None = None,
) -> Explanation:
    """Explain the prediction of one gene at one spot by integrated gradients; the model does not change.

    A spot is compared with an average spot of the section, a patch with the blurred patch, an edge with no message.

    Args:
        model: A model with its preprocessing and a vision stage trained by gradients.
        data: The section, from the model's preprocessing.
        spot: The spot's index in the section.
        gene: A gene of the panel.
        pixels: Number of patches to explain: 1 is the spot's own, 2 adds its most important neighbor's, ...; 0 is
            none, for models of embeddings.
        steps: Integration steps from the blurred patch to the patch, and from an average spot to the spots.
        patches: The patches of the spots, if ``data`` has no ``x``; only those of the spots that the prediction reads
            and of a sample are loaded.
        name: The spot's name; None uses its index.

    Raises:
        TypeError: If the model cannot be explained.
        ValueError: If the spot or gene is unknown, or ``steps`` or ``pixels`` too small.
    """
    vision_stages(model)
    preprocessing = require_preprocessing(model)
    for what, number, least in (("pixels", pixels, 0), ("steps", steps, 1)):
        if number < least:
            raise ValueError(f"{what} must be {least} or more, got {number}.")
    n = len(data.pos)
    if not 0 <= spot < n:
        raise ValueError(f"spot must be from 0 to {n - 1}, got {spot}.")
    column = gene_column(preprocessing.genes, gene)
    with eval_mode(model):
        field = receptive_field(model, data, spot, column, patches)
        predicted, values = features(field)
        found = contributions(field, values, steps)
        order = np.lexsort((-np.abs(found.importance), found.spots != spot))
        neighbors = found.spots[order]
        shown = neighbors[: pixels if field.subgraph.x.dim() == 4 else 0]
        rows = [int(row) for row in np.searchsorted(field.spots.cpu().numpy(), shown)]
        maps = tuple(pixel_map(field, values, row, steps, preprocessing.transpose_patches) for row in rows)
    measured = None
    if data.get("y") is not None and bool(data.gene_mask[column]):
        measured = float(data.y[spot, column])
    return Explanation(
        gene=gene,
        spot=spot,
        name=str(spot) if name is None else name,
        predicted=predicted,
        measured=measured,
        neighbors=neighbors,
        importance=found.importance[order],
        edges=found.edges,
        edge_importance=found.edge_importance,
        reference=found.reference,
        pixels=maps,
    )


def gene_column(genes: tuple[str, ...], gene: str) -> int:
    """Return the column of a gene.

    Raises:
        ValueError: If the gene is not in the panel.
    """
    if gene not in genes:
        raise ValueError(f"The gene {gene!r} is not in the model's panel of {len(genes)} genes.{closest(gene, genes)}")
    return genes.index(gene)


def closest(name: str, names: tuple[str, ...] | list[str]) -> str:
    """Return a sentence that suggests similar names, or an empty string."""
    near = get_close_matches(name, names)
    return f" Did you mean {' or '.join(near)}?" if near else ""
