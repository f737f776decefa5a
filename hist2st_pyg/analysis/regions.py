"""Spatial regions: clusters of spots by their predicted or measured expression, through scanpy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg import figures
from hist2st_pyg.analysis.predictions import background_of, expression_of, file_of
from hist2st_pyg.io.tables import UNLABELED
from hist2st_pyg.utils.bounds import check_seed
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.runtime import preserve_num_threads

if TYPE_CHECKING:
    from anndata import AnnData

REGION_KEY = "region"
PAPER, PAPER_COMPONENTS = "paper", 50
"""The published procedure (``cluster`` in Hist2ST's ``predict.py``), and its number of principal components."""


@preserve_num_threads()
def find_regions(
    adata: AnnData,
    method: str = "leiden",
    *,
    n_regions: int | None = None,
    labels: ArrayLike | None = None,
    resolution: float = 1.0,
    n_neighbors: int = 15,
    n_components: int = 30,
    seed: int = 0,
) -> AnnData:
    """Cluster spots by expression: PCA, then k-means, or neighbors and Leiden (scanpy's path, Wolf et al. 2018).

    Args:
        adata: Log expression, as :func:`~hist2st_pyg.predict` returns it.
        method: One of :data:`METHODS`: ``"leiden"`` finds the number of regions, ``"kmeans"`` uses ``n_regions``.
            ``"paper"`` is the procedure of Zeng et al. 2022: it drops spots labeled "undetermined" and finds as many
            regions as labels by k-means on 50 components. The published numbers are those of seed 0.
        n_regions: Number of regions of k-means.
        labels: The spots' labels [N], which determine the spots and the number of regions of ``"paper"``; the other
            methods ignore them.
        resolution: Leiden's resolution; higher gives more regions.
        n_neighbors: Leiden's number of neighbors of a spot in expression space.
        n_components: Largest number of principal components; ``"paper"`` always uses 50.
        seed: Seed of all random numbers.

    Returns:
        A copy with ``obs["region"]``, numbered from the largest region, ready for
        ``sc.pl.spatial(adata, color="region")``, "undetermined" for spots that ``"paper"`` dropped; ``uns["region"]``
        holds the parameters.

    Raises:
        ImportError: If the method is Leiden and the ``cluster`` extra is not installed.
        ValueError: If ``adata`` has fewer than three spots or the same expression everywhere, the method does not fit
            ``n_regions`` or ``labels``, or a number is out of range.
    """
    import pandas as pd
    import scanpy as sc

    cluster = resolve(METHODS, method, "method")
    check_seed(seed)
    kept = np.ones(adata.n_obs, dtype=bool)
    if method == PAPER:
        names = _labels_of_paper(labels, adata.n_obs, n_regions)
        kept, n_regions, n_components = names != UNLABELED, n_labels(names), PAPER_COMPONENTS
    if kept.sum() < 3:
        raise ValueError(f"Regions need at least 3 spots, got {kept.sum()}.")
    if method == "kmeans" and (n_regions is None or not 2 <= n_regions <= adata.n_obs):
        raise ValueError(f"k-means needs n_regions, from 2 to the {adata.n_obs} spots, got {n_regions!r}.")
    if method == "leiden" and n_regions is not None:
        raise ValueError(
            f"Leiden finds the number of regions itself, got n_regions={n_regions}; set resolution, or choose "
            "method='kmeans'."
        )
    if not resolution > 0 or n_neighbors < 2 or n_components < 1:
        raise ValueError(
            f"resolution must be above 0, n_neighbors 2 or more and n_components 1 or more, got {resolution}, "
            f"{n_neighbors} and {n_components}."
        )
    values = expression_of(adata)[kept]
    if not (values != values[0]).any():
        raise ValueError("The expression is the same at all spots, so no regions can be found.")
    result = adata.copy()
    result.uns.pop(f"{REGION_KEY}_colors", None)  # scanpy's colors of earlier regions
    clustered = result if kept.all() else result[kept].copy()
    components = min(n_components, clustered.n_obs - 1, clustered.n_vars - 1)
    sc.pp.pca(clustered, n_comps=components, random_state=seed)
    found = cluster(clustered, n_regions=n_regions, resolution=resolution, n_neighbors=n_neighbors, seed=seed)
    sizes = pd.Series(found).value_counts()
    place = {region: str(i) for i, region in enumerate(sorted(sizes.index, key=lambda name: (-sizes[name], name)))}
    regions = np.full(result.n_obs, UNLABELED, dtype=object)
    regions[kept] = [place[region] for region in found]
    categories = [*place.values(), *([] if kept.all() else [UNLABELED])]
    result.obs[REGION_KEY] = pd.Categorical(regions, categories=categories)
    given = {"resolution": resolution, "n_neighbors": n_neighbors} if method == "leiden" else {"n_regions": n_regions}
    result.uns[REGION_KEY] = {"params": {"method": method, **given, "n_components": components, "seed": seed}}
    return result


def region_agreement(
    expression: ArrayLike,
    labels: ArrayLike,
    seed: int = 0,
    *,
    method: str = "leiden",
    n_regions: int | None = None,
    resolution: float = 1.0,
) -> dict[str, float] | None:
    """Measure the agreement of a prediction's regions with labels, through scikit-learn.

    :func:`find_regions` clusters the spots. Spots labeled "undetermined" are not compared; ``"paper"`` does not cluster
    them either.

    Args:
        expression: Predicted log expression [N spots, G genes].
        labels: The spots' labels [N], in the form of ``section.label``.
        seed: Seed of the clustering.
        method: One of :data:`METHODS`.
        n_regions: Number of regions of k-means; None uses the number of labels.
        resolution: Leiden's resolution.

    Returns:
        The result of :func:`agreement`; both values are 0 for a single region.

    Raises:
        ImportError: If the method is Leiden and the ``cluster`` extra is not installed.
        ValueError: If the numbers of labels and spots differ, or are below three.
    """
    from anndata import AnnData

    values, names = np.asarray(expression), np.asarray(labels, dtype=object)
    if values.ndim != 2 or names.shape != values.shape[:1]:
        raise ValueError(
            f"expression must be [N spots, G genes] with one label per spot, got shapes {list(values.shape)} and "
            f"{list(names.shape)}."
        )
    if n_labels(names) < 2:
        return None
    if method == "kmeans" and n_regions is None:
        n_regions = n_labels(names)
    found = np.zeros(len(values), dtype=str)
    clustered = values[names != UNLABELED] if method == PAPER else values
    if (clustered != clustered[0]).any():  # identical spots are one region; PCA would divide by 0
        options: dict[str, Any] = {"n_regions": n_regions, "labels": names, "resolution": resolution, "seed": seed}
        found = find_regions(AnnData(values), method, **options).obs[REGION_KEY].to_numpy(str)
    return agreement(found, names)


def agreement(found: ArrayLike, labels: ArrayLike) -> dict[str, float] | None:
    """Measure the agreement of two partitions of the spots, through scikit-learn; skips "undetermined" labels.

    Args:
        found: The spots' regions [N].
        labels: Their labels [N].

    Returns:
        ``ari``, the adjusted Rand index (Hubert and Arabie 1985), and ``nmi``, the normalized mutual information;
        both 1 for equal partitions. None if the spots have fewer than two labels.

    Raises:
        ValueError: If the numbers of regions and labels differ.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    regions, names = np.asarray(found, dtype=object), np.asarray(labels, dtype=object)
    if regions.ndim != 1 or regions.shape != names.shape:
        raise ValueError(f"Each spot needs a region and a label, got {list(regions.shape)} and {list(names.shape)}.")
    if n_labels(names) < 2:
        return None
    known = names != UNLABELED
    regions, names = regions[known].astype(str), names[known].astype(str)
    return {
        "ari": float(adjusted_rand_score(names, regions)),
        "nmi": float(normalized_mutual_info_score(names, regions)),
    }


def n_labels(labels: ArrayLike) -> int:
    """Count the different labels except "undetermined"."""
    return len(set(np.asarray(labels, dtype=object).astype(str)) - {UNLABELED})


def draw_regions(adata: AnnData, folder: str | Path, labels: ArrayLike | None = None) -> Path:
    """Draw the regions on the image, next to the labels if given.

    Args:
        adata: A prediction with regions, as :func:`find_regions` returns it.
        folder: Folder of the picture, ``<name>_regions.png``.
        labels: The spots' labels [N], "undetermined" for spots without one.

    Raises:
        ValueError: If the prediction has no regions.
    """
    if REGION_KEY not in adata.obs:
        raise ValueError("The prediction has no regions (obs['region']); run find_regions first.")
    partitions = {} if labels is None else {"labels": labels}
    partitions[f"regions ({adata.uns.get(REGION_KEY, {}).get('params', {}).get('method', 'given')})"] = adata.obs[
        REGION_KEY
    ]
    figure = figures.region_maps(adata.obsm["spatial"], partitions, **background_of(adata), nowhere=UNLABELED)
    return figures.save(figure, Path(folder) / f"{file_of(adata)}_regions.png")


def _labels_of_paper(labels: ArrayLike | None, n_spots: int, n_regions: int | None) -> NDArray[Any]:
    if labels is None or n_regions is not None:
        raise ValueError(
            f"method={PAPER!r} finds as many regions as labels: set labels without n_regions, or choose "
            "method='kmeans'."
        )
    names = np.asarray(labels, dtype=object)
    if names.shape != (n_spots,) or n_labels(names) < 2:
        raise ValueError(
            f"method={PAPER!r} needs a label for each of {n_spots} spots and two different labels, got "
            f"{list(names.shape)} with {n_labels(names)}."
        )
    return names


def _leiden(adata: AnnData, *, resolution: float, n_neighbors: int, seed: int, **_: Any) -> list[str]:
    import scanpy as sc

    with require_extra("Leiden", "igraph", "cluster"):
        import igraph  # noqa: F401
    sc.pp.neighbors(adata, n_neighbors=min(n_neighbors, adata.n_obs - 1), random_state=seed)
    sc.tl.leiden(
        adata,
        resolution=resolution,
        key_added=REGION_KEY,
        flavor="igraph",
        n_iterations=2,
        directed=False,
        random_state=seed,
    )
    return list(adata.obs[REGION_KEY].astype(str))


def _kmeans(adata: AnnData, *, n_regions: int, seed: int, **_: Any) -> list[str]:
    from sklearn.cluster import KMeans

    return list(KMeans(n_regions, n_init=10, random_state=seed).fit_predict(adata.obsm["X_pca"]).astype(str))


METHODS: dict[str, Callable[..., list[str]]] = {"kmeans": _kmeans, "leiden": _leiden, PAPER: _kmeans}
"""The methods that find regions, by key."""
