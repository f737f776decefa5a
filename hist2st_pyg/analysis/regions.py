"""Spatial regions: clusters of spots by their predicted or measured expression, through scanpy and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg import figures
from hist2st_pyg.analysis.predictions import expression_of, image_of, name_of
from hist2st_pyg.io.tables import UNLABELED
from hist2st_pyg.utils.optional import require_extra
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.runtime import preserve_num_threads

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "region"
PAPER, PAPER_COMPONENTS = "paper", 50
"""The published procedure (``cluster`` in Hist2ST's ``predict.py``), and its principal components."""


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
        adata: Log expression, as :func:`~hist2st_pyg.predict` gives it.
        method: One of :data:`METHODS`: ``"leiden"`` finds the number of regions, ``"kmeans"`` is given it, ``"paper"``
            is what Zeng et al. 2022 publish: spots labeled "undetermined" are dropped, and k-means on 50 components
            finds as many regions as there are labels. The published numbers are those of seed 0.
        n_regions: Number of regions of k-means.
        labels: The spots' labels [N], from which ``"paper"`` takes the spots and the number of regions; the other
            methods do not see them.
        resolution: Leiden's resolution; higher gives more regions.
        n_neighbors: Leiden's neighbors of a spot in expression space.
        n_components: Most principal components; ``"paper"`` has its own 50.
        seed: Seed of everything random.

    Returns:
        A copy with ``obs["region"]``, numbered from the largest region, ready for
        ``sc.pl.spatial(adata, color="region")``, "undetermined" where ``"paper"`` dropped the spot; ``uns["region"]``
        holds the parameters.

    Raises:
        ImportError: If Leiden is asked for and the ``cluster`` extra is not installed.
        ValueError: If there are fewer than three spots or all are the same, the method does not fit ``n_regions`` or
            ``labels``, or a number cannot be meant.
    """
    import pandas as pd
    import scanpy as sc

    cluster = resolve(METHODS, method, "method")
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
            f"Leiden finds the number of regions by itself, got n_regions={n_regions}; set resolution, or take "
            "method='kmeans'."
        )
    if not resolution > 0 or n_neighbors < 2 or n_components < 1:
        raise ValueError(
            f"resolution is above 0, n_neighbors at least 2 and n_components at least 1, got {resolution}, "
            f"{n_neighbors} and {n_components}."
        )
    values = expression_of(adata)[kept]
    if not (values != values[0]).any():
        raise ValueError("The expression is the same at all spots, so there are no regions to find.")
    result = adata.copy()
    result.uns.pop(f"{KEY}_colors", None)  # scanpy's, of regions found before
    clustered = result if kept.all() else result[kept].copy()
    components = min(n_components, clustered.n_obs - 1, clustered.n_vars - 1)
    sc.pp.pca(clustered, n_comps=components, random_state=seed)
    found = cluster(clustered, n_regions=n_regions, resolution=resolution, n_neighbors=n_neighbors, seed=seed)
    sizes = pd.Series(found).value_counts()
    place = {region: str(i) for i, region in enumerate(sorted(sizes.index, key=lambda name: (-sizes[name], name)))}
    regions = np.full(result.n_obs, UNLABELED, dtype=object)
    regions[kept] = [place[region] for region in found]
    categories = [*place.values(), *([] if kept.all() else [UNLABELED])]
    result.obs[KEY] = pd.Categorical(regions, categories=categories)
    given = {"resolution": resolution, "n_neighbors": n_neighbors} if method == "leiden" else {"n_regions": n_regions}
    result.uns[KEY] = {"params": {"method": method, **given, "n_components": components, "seed": seed}}
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
    """How well the regions of a prediction agree with labels, through scikit-learn.

    Spots are clustered by :func:`find_regions`; those labeled "undetermined" are not compared, and ``"paper"`` does
    not cluster them either.

    Args:
        expression: Predicted log expression [N spots, G genes].
        labels: The spots' labels [N], as ``section.label`` has them.
        seed: Seed of the clustering.
        method: One of :data:`METHODS`.
        n_regions: Number of regions of k-means; None takes the number of labels.
        resolution: Leiden's resolution.

    Returns:
        As :func:`agreement`; both are 0 where there is one region.

    Raises:
        ImportError: If Leiden is asked for and the ``cluster`` extra is not installed.
        ValueError: If there is not one label a spot, or there are fewer than three spots.
    """
    from anndata import AnnData

    values, names = np.asarray(expression), np.asarray(labels, dtype=object)
    if values.ndim != 2 or names.shape != values.shape[:1]:
        raise ValueError(
            f"expression is [N spots, G genes] with one label a spot, got shapes {list(values.shape)} and "
            f"{list(names.shape)}."
        )
    if n_labels(names) < 2:
        return None
    if method == "kmeans" and n_regions is None:
        n_regions = n_labels(names)
    found = np.zeros(len(values), dtype=str)
    clustered = values[names != UNLABELED] if method == PAPER else values
    if (clustered != clustered[0]).any():  # spots that are all the same are one region; PCA would divide by 0
        options: dict[str, Any] = {"n_regions": n_regions, "labels": names, "resolution": resolution, "seed": seed}
        found = find_regions(AnnData(values), method, **options).obs[KEY].to_numpy(str)
    return agreement(found, names)


def agreement(found: ArrayLike, labels: ArrayLike) -> dict[str, float] | None:
    """How well two partitions of the spots agree, through scikit-learn; "undetermined" labels are not compared.

    Args:
        found: The spots' regions [N].
        labels: Their labels [N].

    Returns:
        ``ari``, the adjusted Rand index (Hubert and Arabie 1985), and ``nmi``, the normalized mutual information;
        both 1 where the partitions are the same. None where the spots have fewer than two labels.

    Raises:
        ValueError: If there is not one label for each spot's region.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    regions, names = np.asarray(found, dtype=object), np.asarray(labels, dtype=object)
    if regions.ndim != 1 or regions.shape != names.shape:
        raise ValueError(f"A spot has one region and one label, got shapes {list(regions.shape)}, {list(names.shape)}.")
    if n_labels(names) < 2:
        return None
    known = names != UNLABELED
    regions, names = regions[known].astype(str), names[known].astype(str)
    return {
        "ari": float(adjusted_rand_score(names, regions)),
        "nmi": float(normalized_mutual_info_score(names, regions)),
    }


def n_labels(labels: ArrayLike) -> int:
    """The number of different labels, "undetermined" left out."""
    return len(set(np.asarray(labels, dtype=object).astype(str)) - {UNLABELED})


def draw_regions(adata: AnnData, folder: str | Path, labels: ArrayLike | None = None) -> Path:
    """Draw the regions on the image, beside the labels where there are any.

    Args:
        adata: A prediction with regions, as :func:`find_regions` gives it.
        folder: Folder of the picture, ``<name>_regions.png``.
        labels: The spots' labels [N], "undetermined" where they have none.

    Raises:
        ValueError: If the prediction has no regions.
    """
    if KEY not in adata.obs:
        raise ValueError("The prediction has no regions, obs['region']; find_regions finds them.")
    partitions = {} if labels is None else {"labels": labels}
    partitions[f"regions ({adata.uns.get(KEY, {}).get('params', {}).get('method', 'given')})"] = adata.obs[KEY]
    figure = figures.region_maps(adata.obsm["spatial"], partitions, **image_of(adata), nowhere=UNLABELED)
    return figures.save(figure, Path(folder) / f"{name_of(adata)}_regions.png")


def _labels_of_paper(labels: ArrayLike | None, n_spots: int, n_regions: int | None) -> NDArray[Any]:
    if labels is None or n_regions is not None:
        raise ValueError(
            f"method={PAPER!r} finds as many regions as there are labels: give labels and no n_regions, or take "
            "method='kmeans'."
        )
    names = np.asarray(labels, dtype=object)
    if names.shape != (n_spots,) or n_labels(names) < 2:
        raise ValueError(
            f"method={PAPER!r} needs a label for each of {n_spots} spots and two different ones, got "
            f"{list(names.shape)} with {n_labels(names)}."
        )
    return names


def _leiden(adata: AnnData, *, resolution: float, n_neighbors: int, seed: int, **_: Any) -> list[str]:
    import scanpy as sc

    with require_extra("Leiden", "igraph", "cluster"):
        import igraph  # noqa: F401
    sc.pp.neighbors(adata, n_neighbors=min(n_neighbors, adata.n_obs - 1), random_state=seed)
    sc.tl.leiden(
        adata, resolution=resolution, key_added=KEY, flavor="igraph", n_iterations=2, directed=False, random_state=seed
    )
    return list(adata.obs[KEY].astype(str))


def _kmeans(adata: AnnData, *, n_regions: int, seed: int, **_: Any) -> list[str]:
    from sklearn.cluster import KMeans

    return list(KMeans(n_regions, n_init=10, random_state=seed).fit_predict(adata.obsm["X_pca"]).astype(str))


METHODS: dict[str, Callable[..., list[str]]] = {"kmeans": _kmeans, "leiden": _leiden, PAPER: _kmeans}
"""The ways to find regions."""
