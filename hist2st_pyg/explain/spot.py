"""Explain one prediction by neighbors and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.source import Patches
from hist2st_pyg.explain.neighbors import METHODS
from hist2st_pyg.explain.pixels import BASELINES, PixelMap, pixel_map
from hist2st_pyg.explain.reading import at_rest, features, read, vision_stages
from hist2st_pyg.inference import require_preprocessing
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.utils.resolver import resolve


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of one gene's prediction at one spot.

    Args:
        gene: The gene.
        spot: The spot's index in the section.
        name: The spot's name.
        predicted: Predicted log10 expression.
        measured: Measured log10 expression, if known.
        method: The method that weighted the neighbors, a key of ``METHODS``.
        neighbors: The spots that the prediction reads, indices in the section [K]: the spot itself, then the others,
            the most important first.
        importance: Importance of each spot [K]: its contribution, signed log10 expression (``"integrated"``); shares of
            the gradient, which sum to 1 (``"gradient"``); or masks 0 to 1 (``"gnnexplainer"``).
        edges: Edges (source, target) between them, indices in the section [2, M].
        edge_importance: Importance of each edge [M]: the contribution of its messages, the size of the gradient by
            their weight, or masks; None if the graph layers do not pass messages as PyG's do.
        reference: With ``"integrated"`` the prediction of average spots: the importances add up to the difference.
        pixels: The contributions of the pixels: of the spot's own patch first, then of its most important neighbors'.
    """

    gene: str
    spot: int
    name: str
    predicted: float
    measured: float | None
    method: str
    neighbors: NDArray[np.int64]
    importance: NDArray[np.float64]
    edges: NDArray[np.int64]
    edge_importance: NDArray[np.float64] | None
    reference: float | None
    pixels: tuple[PixelMap, ...]


def explain_spot(
    model: ExpressionModel,
    data: SectionData,
    spot: int,
    gene: str,
    *,
    method: str = "integrated",
    pixels: int = 1,
    baseline: str = "blurred",
    steps: int = 32,
    epochs: int = 100,
    seed: int = 0,
    patches: Patches | None = None,
    name: str | None = None,
) -> Explanation:
    """Explain the prediction of one gene at one spot; the model does not change.

    Args:
        model: A model with its preprocessing and a vision stage trained by gradients.
        data: The section, from the model's preprocessing.
        spot: The spot's index in the section.
        gene: A gene of the panel.
        method: The method that weights the neighbors, a key of
            :data:`~hist2st_pyg.explain.neighbors.METHODS`. ``"integrated"`` gives the contribution of each, and
            ``"gradient"`` the sensitivity to each; both include attention. ``"gnnexplainer"`` fits masks of the spots
            and edges that enter the graph layers.
        pixels: Number of patches to explain: 1 is the spot's own, 2 adds its most important neighbor's, ...; 0 is
            none, for models of embeddings.
        baseline: The reference of a patch, a key of :data:`~hist2st_pyg.explain.pixels.BASELINES`.
        steps: Steps from the baseline to the patch, and from an average spot to the spots.
        epochs: Steps of GNNExplainer.
        seed: Seed of GNNExplainer.
        patches: The patches of the spots, if ``data`` has no ``x``; only spots in reach and a sample are read.
        name: The spot's name; None takes its index.

    Raises:
        TypeError: If the model cannot be explained, or not by this method.
        ValueError: If the spot, gene, method or baseline is unknown, or ``steps``, ``epochs`` or ``pixels`` too small.
    """
    vision_stages(model)
    preprocessing = require_preprocessing(model)
    weigh = resolve(METHODS, method, "method")
    resolve(BASELINES, baseline, "baseline")
    for what, number, least in (("pixels", pixels, 0), ("steps", steps, 1), ("epochs", epochs, 1)):
        if number < least:
            raise ValueError(f"{what} must be {least} or more, got {number}.")
    n = len(data.pos)
    if not 0 <= spot < n:
        raise ValueError(f"spot must be from 0 to {n - 1}, got {spot}.")
    column = gene_column(preprocessing.genes, gene)
    with at_rest(model):
        reading = read(model, data, spot, column, patches)
        predicted, values = features(reading)
        found = weigh(reading, values, steps, epochs, seed)
        order = np.lexsort((-np.abs(found.importance), found.spots != spot))
        neighbors = found.spots[order]
        shown = neighbors[: pixels if reading.piece.x.dim() == 4 else 0]
        rows = [int(row) for row in np.searchsorted(reading.spots.cpu().numpy(), shown)]
        maps = tuple(pixel_map(reading, values, row, baseline, steps, preprocessing.transpose_patches) for row in rows)
    measured = None
    if data.get("y") is not None and bool(data.gene_mask[column]):
        measured = float(data.y[spot, column])
    return Explanation(
        gene=gene,
        spot=spot,
        name=str(spot) if name is None else name,
        predicted=predicted,
        measured=measured,
        method=method,
        neighbors=neighbors,
        importance=found.importance[order],
        edges=found.edges,
        edge_importance=found.edge_importance,
        reference=found.reference,
        pixels=maps,
    )


def gene_column(genes: tuple[str, ...], gene: str) -> int:
    """The column of a gene.

    Raises:
        ValueError: If the gene is not in the panel.
    """
    if gene not in genes:
        raise ValueError(f"The gene {gene!r} is not in the model's panel of {len(genes)} genes.{closest(gene, genes)}")
    return genes.index(gene)


def closest(name: str, names: tuple[str, ...] | list[str]) -> str:
    """A sentence that suggests similar names, or nothing."""
    near = get_close_matches(name, names)
    return f" Did you mean {' or '.join(near)}?" if near else ""
