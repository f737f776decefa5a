"""Compute the agreement of regions from predictions, measured expression or positions with labels or each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg import Section
from hist2st_pyg.analysis.regions import METHODS, PAPER, REGION_KEY, agreement, find_regions, n_labels
from hist2st_pyg.data.expression import expression_target, panel_counts, variable_genes
from hist2st_pyg.io.tables import UNLABELED

N_VARIABLE_GENES = 1000
"""Number of variable genes of the measured expression, if there is no panel."""

Reals = NDArray[np.floating[Any]]
Partitions = list[NDArray[Any]]
Scores = dict[str, dict[str, Any]]


def clusterings(
    expression: Reals, n_regions: int, seeds: int, labels: ArrayLike | None = None
) -> dict[str, Partitions]:
    """Find the regions of each method and seed; with labels also of the published method, with its fixed seed."""
    adata = AnnData(np.asarray(expression, dtype=np.float64))
    given: dict[str, dict[str, Any]] = {"kmeans": {"n_regions": n_regions}, PAPER: {"labels": labels}}

    def find(method: str, seed: int) -> NDArray[Any]:
        return np.asarray(find_regions(adata, method, seed=seed, **given.get(method, {})).obs[REGION_KEY].to_numpy(str))

    return _by_method(find, seeds, labels)


def clusterings_of_positions(
    pos: Reals, n_regions: int, seeds: int, labels: ArrayLike | None = None
) -> dict[str, Partitions]:
    """Find regions from the coordinates alone: a baseline for any partition into compact regions."""

    def find(method: str, seed: int) -> NDArray[Any]:
        every = np.ones(len(pos), dtype=bool)
        used = np.asarray(labels, dtype=object) != UNLABELED if method == PAPER else every
        spots = AnnData(pos[used].copy(), obsm={"X_pca": pos[used].copy()})
        found = np.full(len(pos), UNLABELED, dtype=object)
        found[used] = METHODS[method](spots, n_regions=n_regions, resolution=1.0, n_neighbors=15, seed=seed)
        return found.astype(str)

    return _by_method(find, seeds, labels)


def _by_method(find: Callable[[str, int], NDArray[Any]], seeds: int, labels: ArrayLike | None) -> dict[str, Partitions]:
    return {
        method: [find(method, seed) for seed in range(1 if method == PAPER else seeds)]
        for method in METHODS
        if method != PAPER or labels is not None
    }


def compare(found: Mapping[str, Partitions], truth: Callable[[str], Partitions]) -> Scores:
    """Compute the agreement of each method's regions with the reference, mean and deviation over seeds."""
    scores: Scores = {}
    for method, partitions in found.items():
        pairs = zip(partitions, truth(method), strict=True)
        values = [result for first, second in pairs if (result := agreement(first, second)) is not None]
        if values:
            ari = [value["ari"] for value in values]
            scores[method] = {
                "ari": float(np.mean(ari)),
                "ari_sd": float(np.std(ari)),
                "nmi": float(np.mean([value["nmi"] for value in values])),
                "regions": float(np.mean([n_labels(partition) for partition in partitions])),
            }
    return scores


def against_labels(
    section: Section, genes: Sequence[str], predictions: Mapping[str, Reals], seeds: int
) -> dict[str, Any]:
    """Compute the agreement with a section's labels.

    Args:
        section: A section with labels.
        genes: The gene panel.
        predictions: Predicted expression [N, G] by model.
        seeds: Number of seeds of the clustering.
    """
    labels = section.label
    if labels is None or n_labels(labels) < 2:
        raise ValueError(f"Section {section.name!r} needs at least two different labels.")
    k = n_labels(labels)
    variable = variable_genes([section], min(N_VARIABLE_GENES, _detected(section)))
    sources = {
        **predictions,
        "measured": _target(section, panel_counts(section, genes)[0]),
        "measured_variable": expression_target(section, panel_counts(section, variable)[0], "all"),
    }
    found = {name: clusterings(values, k, seeds, labels) for name, values in sources.items()}
    found["positions"] = clusterings_of_positions(section.pos, k, seeds, labels)
    return {
        "spots": len(section),
        "labels": k,
        "scores": {name: _against(labels, partitions) for name, partitions in found.items()},
    }


def against_measured(
    section: Section, genes: Sequence[str], predictions: Mapping[str, Reals], n_regions: int, seeds: int
) -> dict[str, Any]:
    """Compute the agreement with the regions of a section's measured expression.

    Two rows show the attainable agreement: ``measured_again`` is the same expression clustered with other seeds, and
    ``measured_halves`` the agreement of two random halves of the counts, each of half the depth.

    Args:
        section: A measured section.
        genes: The gene panel.
        predictions: Predicted expression [N, G] by model.
        n_regions: Regions of k-means.
        seeds: Number of seeds of the clustering.
    """
    counts = panel_counts(section, genes)[0]
    measured = clusterings(_target(section, counts), n_regions, seeds)
    scores = {
        name: compare(clusterings(values, n_regions, seeds), measured.__getitem__)
        for name, values in predictions.items()
    }
    scores["positions"] = compare(clusterings_of_positions(section.pos, n_regions, seeds), measured.__getitem__)
    scores["measured_again"] = compare(measured, lambda method: measured[method][1:] + measured[method][:1])
    halves: list[dict[str, Partitions]] = [{method: [] for method in measured} for _ in range(2)]
    for seed in range(seeds):
        first = np.random.default_rng(seed).binomial(counts.astype(np.int64), 0.5)
        for half, part in zip(halves, (first, counts - first), strict=True):
            # One seed of the clustering for each pair of random halves.
            for method, partitions in clusterings(_target(section, part), n_regions, 1).items():
                half[method] += partitions
    scores["measured_halves"] = compare(halves[0], halves[1].__getitem__)
    return {"spots": len(section), "regions_of_kmeans": n_regions, "scores": scores}


def _against(labels: NDArray[Any], found: Mapping[str, Partitions]) -> Scores:
    return compare(found, lambda method: [labels] * len(found[method]))


def _target(section: Section, counts: NDArray[Any]) -> Reals:
    return expression_target(section, counts.astype(np.float32))


def _detected(section: Section) -> int:
    """Count the genes detected in a tenth of the spots, from which variable genes are chosen."""
    return int((np.asarray((section.adata.X > 0).mean(0)).ravel() >= 0.1).sum())
